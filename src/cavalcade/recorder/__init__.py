"""The recorder: runs any program in a workspace and puts on record what it does there, as it does it.

    port        what it needs: a journal for events, a reader of a known program's own session files
    watching    which paths were touched (inotify; without it, none are known and every look is a full one)
    looking     what differs since the last look, read file by file
    eyes        the thread that watches, lets a burst settle, and looks
    backlog     between who sees and who keeps: bounded, in the order of what happened
    keeping     states into the content store, events into the journal
    sessions    what known programs write down of their conversations
    program     starts the program, on a terminal of its own or with pipes, and passes everything through untouched
    recording   puts these together: from a program's start to its last state

Nothing here confines the program: it runs with the rights of whoever started it. Trouble with disk or ledger never reaches it: what
can't be recorded is counted and told at the end.

May touch: the folder it is told to look at (reading only), processes and terminals it was given, content store, journal. Never sees the
supervisor or workers.
"""
