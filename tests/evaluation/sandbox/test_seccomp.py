"""The filter, run by a small interpreter of its instructions, for both kinds of processors."""

import errno
import struct

import pytest

from lorary.evaluation.sandbox.inside.seccomp import (
    ALLOW,
    ANY_BIT,
    AT_LEAST,
    CLONE,
    CLONE3,
    DENIED,
    DENIED_OLD,
    EQUALS,
    LOAD,
    MACHINES,
    OWN_ONLY,
    OWN_OR_ZERO,
    REFUSE,
    RETURN,
    build_filter,
)

OWN = 4321
EPERM = REFUSE | errno.EPERM


def decide(instructions, audit, number, first=0):
    """Return what a filter answers to a call."""
    data = struct.pack("IIQQ", number, audit, 0, first)
    place, value = 0, 0
    while True:
        code, if_true, if_false, operand = instructions[place]
        if code == RETURN:
            return operand
        place += 1
        if code == LOAD:
            value = struct.unpack_from("I", data, operand)[0]
        else:
            tests = {EQUALS: value == operand, AT_LEAST: value >= operand, ANY_BIT: bool(value & operand)}
            place += if_true if tests[code] else if_false


@pytest.mark.parametrize("machine", MACHINES)
def test_denied_calls_are_refused_and_others_are_not(machine):
    column, audit = MACHINES[machine]
    instructions = build_filter(machine, OWN)
    numbers = [numbers[column] for numbers in DENIED.values()]
    numbers += DENIED_OLD.values() if machine == "x86_64" else ()
    denied = set(numbers)
    assert len(denied) == len(numbers)
    special = {numbers[column] for table in (OWN_ONLY, OWN_OR_ZERO) for numbers in table.values()}
    special |= {CLONE[column], CLONE3[column]}
    assert not denied & special
    for number in range(600):
        if number not in special:
            assert decide(instructions, audit, number) == (EPERM if number in denied else ALLOW), number


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_are_decided_by_their_first_argument(machine):
    column, audit = MACHINES[machine]
    instructions = build_filter(machine, OWN)
    for name, first, expected in (
        ("kill", OWN, ALLOW),
        ("kill", 1, EPERM),
        ("kill", 0, EPERM),
        ("kill", 2**32 - 1, EPERM),
        ("tgkill", OWN, ALLOW),
        ("tgkill", 7, EPERM),
    ):
        assert decide(instructions, audit, OWN_ONLY[name][column], first) == expected
    for first, expected in ((0, ALLOW), (OWN, ALLOW), (1, EPERM)):
        assert decide(instructions, audit, OWN_OR_ZERO["prlimit64"][column], first) == expected
    # A thread, a process, a user namespace.
    for flags, expected in ((0x3D0F00, ALLOW), (0x1200011, ALLOW), (0x10000011, EPERM)):
        assert decide(instructions, audit, CLONE[column], flags) == expected
    assert decide(instructions, audit, CLONE3[column]) == REFUSE | errno.ENOSYS


def test_other_processors_and_interfaces_are_refused():
    instructions = build_filter("x86_64", OWN)
    assert decide(instructions, MACHINES["aarch64"][1], 0) == EPERM
    assert decide(instructions, MACHINES["x86_64"][1], 0x40000000) == EPERM
