"""A filter of system calls (seccomp): calls that no computation needs are refused with EPERM.

It applies to the process and its children, needs no privileges, and cannot be removed.
"""

import ctypes
import errno
import os
import platform
import struct

from .calls import PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, control_process

# (x86_64, aarch64); numbers from 424 on are the same on both.
DENIED = {
    # sockets
    "socket": (41, 198), "connect": (42, 203), "accept": (43, 202), "accept4": (288, 242), "bind": (49, 200),
    "listen": (50, 201), "sendto": (44, 206),
    # other processes
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "ptrace": (101, 117), "tkill": (200, 130),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440), "setpriority": (141, 140), "ioprio_set": (251, 30),
    "migrate_pages": (256, 238), "move_pages": (279, 239),
    # what Landlock leaves free: modes, owners and times of files, and, before Linux 6.2, cutting them off
    "truncate": (76, 45), "fchmodat": (268, 53), "fchmodat2": (452, 452), "fchownat": (260, 54),
    "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    # memory that the limit of memory does not count
    "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186), "memfd_create": (319, 279),
    # namespaces and mounts
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51), "move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430),
    "mount_setattr": (442, 442), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    # wide or rarely used parts of the kernel
    "io_uring_setup": (425, 425), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "personality": (135, 92), "quotactl": (179, 60),
    "acct": (163, 89),
}  # fmt: skip
# The same of files, in older forms that x86_64 has alone.
DENIED_OLD = {"chmod": 90, "chown": 92, "lchown": 94, "utime": 132, "utimes": 235, "futimesat": 261}
# Calls whose first argument is a process: this one only.
OWN_ONLY = {"kill": (62, 129), "tgkill": (234, 131)}
OWN_OR_ZERO = {
    "prlimit64": (302, 261), "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118), "sched_setattr": (314, 274),
}  # fmt: skip
CLONE, CLONE3 = (56, 220), (435, 435)
# CLONE_NEW…: namespaces.
NEW_FLAGS = 0x7E020000

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

LOAD, EQUALS, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
NUMBER, MACHINE, FIRST_ARGUMENT = 0, 4, 16
# Of x86_64: numbers from here on are those of another interface.
OTHER_INTERFACE = 0x40000000
FILTER_MODE = 2

Instruction = tuple[int, int, int, int]
"""Code, how many instructions to jump over if true and if false, and a number."""


def filter_system_calls() -> None:
    """Refuse the calls above, from now on.

    Raises:
        OSError: if this kernel or this processor has no such filter.
    """
    if platform.machine() not in MACHINES:
        raise OSError(errno.ENOSYS, "no filter of system calls for this processor")
    instructions = build_filter(platform.machine(), os.getpid())
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: a count and, aligned, an address.
    program = struct.pack("HP", len(instructions), ctypes.addressof(buffer))
    control_process(PR_SET_NO_NEW_PRIVS)
    control_process(PR_SET_SECCOMP, FILTER_MODE, ctypes.create_string_buffer(program, len(program)))


def build_filter(machine: str, process: int) -> list[Instruction]:
    """Build the filter of a process on a kind of machine."""
    column, audit = MACHINES[machine]
    refuse = _return(REFUSE | errno.EPERM)
    # clone3 keeps its flags in memory that a filter cannot read; the C library falls back to clone.
    unknown = _return(REFUSE | errno.ENOSYS)
    steps: list[Instruction] = [(LOAD, 0, 0, MACHINE), (EQUALS, 1, 0, audit), refuse, (LOAD, 0, 0, NUMBER)]
    steps += [(AT_LEAST, 0, 1, OTHER_INTERFACE), refuse]
    old = DENIED_OLD.values() if column == 0 else ()
    for number in (*(numbers[column] for numbers in DENIED.values()), *old):
        steps += [(EQUALS, 0, 1, number), refuse]
    steps += [(EQUALS, 0, 1, CLONE3[column]), unknown]
    for table, allowed in ((OWN_ONLY, [process]), (OWN_OR_ZERO, [0, process])):
        for numbers in table.values():
            steps += _if_first(
                numbers[column], [(EQUALS, 0, 1, one) for one in allowed], _return(ALLOW), refuse
            )
    steps += _if_first(CLONE[column], [(ANY_BIT, 0, 1, NEW_FLAGS)], refuse, _return(ALLOW))
    return [*steps, _return(ALLOW)]


def _if_first(
    number: int, tests: list[Instruction], if_true: Instruction, if_false: Instruction
) -> list[Instruction]:
    """Decide one call by its first argument."""
    body = [(LOAD, 0, 0, FIRST_ARGUMENT), *(step for test in tests for step in (test, if_true)), if_false]
    return [(EQUALS, 0, len(body), number), *body]


def _return(value: int) -> Instruction:
    return (RETURN, 0, 0, value)
