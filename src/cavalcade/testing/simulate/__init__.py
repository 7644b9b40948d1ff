"""The whole system under one virtual clock and seeded chance: real supervisors, workers, deciders and records, with everything that they
touch in the hand of the simulation. One seed is one history, bit for bit; `python -m cavalcade.testing.simulate` runs many.

    loop          an event loop on which time passes only when nobody has anything left to do
    world         processes, their clocks and what was said: all that a simulation consists of
    network       the ways from a process to ledger, bus and content store, and what may go wrong on them
    broker        the bus: queues that deliver again, twice, and out of order
    projects      what the runs are about: files, plans, tests
    actors        what the processes do: drive, work, decide as a person
    chaos         faults, drawn from the seed
    invariants    what must never happen, and what must have happened in the end
    bugs          mistakes put in on purpose, to see that they are found
    simulation    one seed from its first event to its verdict
"""
