"""What known programs write down of their conversations, read while they work.

    known       which program a command starts, and its reader
    reading     what the readers share: appended lines, times, folders, what was left out
    claude      Claude Code: one file of lines for each session
    codex       Codex CLI: one rollout file of lines for each session
    gemini      Gemini CLI: one file of lines for each session, before that one document
    opencode    OpenCode: a database, before that one document for each message and part

None of these formats is a public contract: each was read from what the named version writes. What is not understood is counted and left
out, never an error. Only what was written after the program was started, in a session of its folder, is taken.
"""
