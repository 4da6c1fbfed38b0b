"""The loop that runs a kernel's tasks, on the calling thread or on the OpenMP pool that torch has.

A page of LLVM, compiled once for all kernels, so that running one takes no Numba.
"""

import ctypes
import os
import platform
from functools import cache
from typing import Any

import torch

from equipoise.ops import cache as disk
from equipoise.ops.sweep import machine

# tasks before and after the loop, for what runs once
BEFORE, AFTER = -1, -2

# where a kernel's integers hold what the loop uses, and where its own begin: the phase at work,
# the address and the size of the scratch in float64 numbers, what the kernel answers, and one or
# two phases, each with its number of tasks
PHASE, SCRATCH, NUMBERS, ANSWER, PHASES, HEAD = 0, 1, 2, 3, 4, 8

# what a processor does in a loop that waits, not to take from the thread that it waits for
_REST = {"x86_64": "pause", "AMD64": "pause", "aarch64": "yield", "arm64": "yield"}.get(
    platform.machine(), ""
)

# Each thread takes the next task of its own stretch, then of the others': memory stays with the
# thread that touched it in the call before, and none waits for one that was held up.  A stretch
# fills a line of the cache: the next task, and where the stretch ends.  The calling thread opens
# and closes a phase; both phases run in one region, for to wake a thread takes longer than to
# keep it waiting for the last tasks of a phase.
_TEXT = f"""
; task, integers, floats, threads, their number, stretches; phases open, tasks done; any failed
%job = type {{ ptr, ptr, ptr, i64, ptr, ptr, i64, i64, i32 }}
%stretch = type {{ i64, i64, [6 x i64] }}
declare noalias ptr @malloc(i64)
declare void @free(ptr)
declare i32 @sched_yield()
declare ptr @llvm.ptrmask.p0.i64(ptr, i64)

define internal void @wait(ptr %at, i64 %until) {{
entry:
  br label %look
look:
  %n = phi i64 [ 1, %entry ], [ %n.next, %again ], [ %n.next, %yield ]
  %now = load atomic i64, ptr %at acquire, align 8
  %reached = icmp sge i64 %now, %until
  br i1 %reached, label %over, label %not.yet
not.yet:
  %n.next = add i64 %n, 1
  %some = and i64 %n, 255
  %long = icmp eq i64 %some, 0
  br i1 %long, label %yield, label %again
yield:
  %ignored = call i32 @sched_yield()
  br label %look
again:
  call void asm sideeffect "{_REST}", ""()
  br label %look
over:
  ret void
}}

define internal void @work(ptr %job) {{
entry:
  %data = load %job, ptr %job
  %task = extractvalue %job %data, 0
  %integers = extractvalue %job %data, 1
  %floats = extractvalue %job %data, 2
  %threads = extractvalue %job %data, 3
  %number = extractvalue %job %data, 4
  %all = extractvalue %job %data, 5
  %open = getelementptr %job, ptr %job, i64 0, i32 6
  %done = getelementptr %job, ptr %job, i64 0, i32 7
  %failed = getelementptr %job, ptr %job, i64 0, i32 8
  %alone = icmp eq i64 %threads, 1
  br i1 %alone, label %begin, label %ask
ask:
  %asked = call i32 %number()
  br label %begin
begin:
  %me.32 = phi i32 [ 0, %entry ], [ %asked, %ask ]
  %me = zext i32 %me.32 to i64
  %leads = icmp eq i64 %me, 0
  br label %phases
phases:
  %p = phi i64 [ 0, %begin ], [ %p.next, %close ], [ %p.next, %go.on ]
  %before.phase = phi i64 [ 0, %begin ], [ %tasks, %close ], [ %tasks, %go.on ]
  %p.next = add i64 %p, 1
  %twice = shl i64 %p, 1
  %k = add i64 %twice, {PHASES}
  %k.at = getelementptr i64, ptr %integers, i64 %k
  %count.at = getelementptr i64, ptr %k.at, i64 1
  %phase = load i64, ptr %k.at
  %count = load i64, ptr %count.at
  %tasks = add i64 %before.phase, %count
  %first = mul i64 %p, %threads
  %stretches = getelementptr %stretch, ptr %all, i64 %first
  %none = icmp eq i64 %phase, 0
  br i1 %none, label %over, label %some
some:
  br i1 %leads, label %lead, label %follow
follow:
  call void @wait(ptr %open, i64 %p.next)
  br label %visit
lead:
  %phase.at = getelementptr i64, ptr %integers, i64 {PHASE}
  store i64 %phase, ptr %phase.at
  %before = call i32 %task(i64 {BEFORE}, ptr %integers, ptr %floats)
  %before.old = atomicrmw or ptr %failed, i32 %before monotonic
  br label %divide
divide:
  %i = phi i64 [ 0, %lead ], [ %i.next, %divide ]
  %from = phi i64 [ 0, %lead ], [ %to, %divide ]
  %i.next = add i64 %i, 1
  %share = mul i64 %count, %i.next
  %to = udiv i64 %share, %threads
  %own = getelementptr %stretch, ptr %stretches, i64 %i, i32 0
  %own.end = getelementptr %stretch, ptr %stretches, i64 %i, i32 1
  store i64 %from, ptr %own
  store i64 %to, ptr %own.end
  %divided = icmp eq i64 %i.next, %threads
  br i1 %divided, label %opened, label %divide
opened:
  store atomic i64 %p.next, ptr %open release, align 8
  br label %visit
visit:
  %v = phi i64 [ 0, %follow ], [ 0, %opened ], [ %v.next, %left ]
  %sum = add i64 %me, %v
  %whose = urem i64 %sum, %threads
  %next = getelementptr %stretch, ptr %stretches, i64 %whose, i32 0
  %end.at = getelementptr %stretch, ptr %stretches, i64 %whose, i32 1
  %end = load i64, ptr %end.at
  br label %take
take:
  %t = atomicrmw add ptr %next, i64 1 monotonic
  %is = icmp slt i64 %t, %end
  br i1 %is, label %run, label %left
run:
  %status = call i32 %task(i64 %t, ptr %integers, ptr %floats)
  %old = atomicrmw or ptr %failed, i32 %status monotonic
  %was = atomicrmw add ptr %done, i64 1 acq_rel
  br label %take
left:
  %v.next = add i64 %v, 1
  %more = icmp ult i64 %v.next, %threads
  br i1 %more, label %visit, label %all.taken
all.taken:
  br i1 %leads, label %close, label %go.on
close:
  call void @wait(ptr %done, i64 %tasks)
  %after = call i32 %task(i64 {AFTER}, ptr %integers, ptr %floats)
  %after.old = atomicrmw or ptr %failed, i32 %after monotonic
  %last = icmp eq i64 %p.next, 2
  br i1 %last, label %over, label %phases
go.on:
  %last.too = icmp eq i64 %p.next, 2
  br i1 %last.too, label %over, label %phases
over:
  ret void
}}

define i32 @loop(ptr %task, ptr %integers, ptr %floats, i64 %threads, ptr %parallel, ptr %number) {{
entry:
  %job = alloca %job
  %both = shl i64 %threads, 1
  %stretches = alloca %stretch, i64 %both, align 64
  %numbers.at = getelementptr i64, ptr %integers, i64 {NUMBERS}
  %numbers = load i64, ptr %numbers.at
  %size = shl i64 %numbers, 3
  %bytes = add i64 %size, 64
  %made = call ptr @malloc(i64 %bytes)
  %none = icmp eq ptr %made, null
  br i1 %none, label %out.of.memory, label %ready
out.of.memory:
  ret i32 1
ready:
  %first.line = getelementptr i8, ptr %made, i64 63
  %scratch = call ptr @llvm.ptrmask.p0.i64(ptr %first.line, i64 -64)
  %scratch.at = getelementptr i64, ptr %integers, i64 {SCRATCH}
  store ptr %scratch, ptr %scratch.at
  %job.0 = insertvalue %job zeroinitializer, ptr %task, 0
  %job.1 = insertvalue %job %job.0, ptr %integers, 1
  %job.2 = insertvalue %job %job.1, ptr %floats, 2
  %job.3 = insertvalue %job %job.2, i64 %threads, 3
  %job.4 = insertvalue %job %job.3, ptr %number, 4
  %job.5 = insertvalue %job %job.4, ptr %stretches, 5
  store %job %job.5, ptr %job
  %alone = icmp eq i64 %threads, 1
  br i1 %alone, label %by.itself, label %on.the.pool
by.itself:
  call void @work(ptr %job)
  br label %over
on.the.pool:
  %threads.32 = trunc i64 %threads to i32
  call void %parallel(ptr @work, ptr %job, i32 %threads.32, i32 0)
  br label %over
over:
  call void @free(ptr %made)
  %failed = getelementptr %job, ptr %job, i64 0, i32 8
  %result = load i32, ptr %failed
  ret i32 %result
}}
"""


@cache
def _pool() -> tuple[int, int] | None:
    """Give the addresses of OpenMP's entries in the library that torch runs on."""
    # a symbol is looked up in what the library needs, too
    library = ctypes.CDLL(os.path.abspath(torch._C.__file__))
    names = ("GOMP_parallel", "omp_get_thread_num")
    try:
        parallel, number = (ctypes.cast(library[name], ctypes.c_void_p).value for name in names)
    except AttributeError:
        return None
    return (parallel, number) if parallel and number else None


@cache
def _loop() -> Any:
    def make(target):
        return target.emit_object(machine.parsed(_TEXT, target))

    address = machine.load("loop", _TEXT, make, disk.folder())
    pointer = ctypes.c_void_p
    kind = ctypes.CFUNCTYPE(ctypes.c_int32, *(pointer,) * 3, ctypes.c_int64, *(pointer,) * 2)
    return kind(address)


def entry(threads: int) -> tuple[Any, tuple[Any, ...]]:
    """Give the loop in C, and what it takes after a task and its arrays, to run on ``threads``."""
    pool = _pool() if threads > 1 else None
    return _loop(), (threads, *pool) if pool else (1, None, None)


def run(task: int, integers, floats, threads: int) -> bool:
    """Run the task at an address: BEFORE, 0 to count - 1, and AFTER for each phase.

    ``integers`` are written to.  Tells whether all went well: a kernel fails where there is no
    memory for what it works with.
    """
    go, rest = entry(threads)
    return go(task, integers, floats, *rest) == 0
