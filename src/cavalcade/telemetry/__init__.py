"""Side channels: what is recorded also leaves as lines and as OpenTelemetry spans, each channel at its own pace.

May touch the descriptor, files, sockets and endpoints that the user named for it; never the ledger, whose events are handed in.
"""
