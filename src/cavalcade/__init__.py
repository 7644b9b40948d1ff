"""Cavalcade: a supervised swarm of autonomous coding agents with a flight recorder.

Rooms, from the ground up (higher may import lower, never the reverse):

    kernel      ids, clock, random, errors, canonical bytes
    protocol    events, commands, plans: what everybody shares
    domain      the rules, pure: data in, data out
    config      where things lie and how they are set
    ledger      the append-only, hash-chained record
    content     every state of the tree, as git objects
    bus         jobs and messages between supervisor and workers
    telemetry   side channels: what is recorded also leaves as lines and spans
    terrain     the code index and the resolvers
    recipes     deterministic transformations: tree in, edits out
    sandbox     where generated code runs
    gates       checks of a change, with receipts
    agents      who does a task
    supervisor  drives runs; worker carries jobs out
    recorder    puts on record what any program does in a workspace
    replay      a run again from its record
    cli         commands and their rendering; testing: the shipped test kit
"""

__version__ = "0.1.0"
