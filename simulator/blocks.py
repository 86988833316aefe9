"""The engine's paged KV memory: which contents it holds, and the order in which free blocks are taken.

This is vLLM's block pool. A free block keeps its content until it is taken. Blocks without content are taken first,
then those with content in the order they became free (a request frees its last block first). Free blocks that pins
hold stand beside this line, and join its end when the last pin gives them up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from scheduler.types import Tokens
from simulator.content import Context
from simulator.footprint import FULL_ATTENTION, Footprint
from simulator.runs import Line, Node, Pin, Run, Table, Trail


class Match(NamedTuple):
    """The longest prefix of a context that is there: `blocks` in all, which may end within the last run."""

    runs: Sequence[Run]
    blocks: int
    growing: bool
    """A request that decodes is about to make it longer."""

    def parts(self) -> Iterator[tuple[Run, int]]:
        """Each run with the number of its blocks that match."""
        for run in self.runs:
            yield run, min(run.node.blocks, self.blocks - run.node.start)


class BlockPool:
    """A fixed number of blocks, each in use, free, or free and held by pins.

    How many of them some blocks of a context take is up to the footprint: with full attention, as many.
    """

    def __init__(self, size: int, block_size: Tokens, footprint: Footprint = FULL_ATTENTION) -> None:
        self.size = size
        self.block_size = block_size
        self._footprint = footprint
        self.held = 0
        """Free blocks that pins hold."""
        self._blank = size
        self._line = Line()
        self._root = Node(None, 0, 0, 0, Context(()))

    @property
    def takeable(self) -> int:
        """Free blocks that no pin holds."""
        return self._blank + self._line.blocks

    @property
    def free(self) -> int:
        """All blocks that no request uses, held ones included: what vLLM calls free."""
        return self._blank + self._line.blocks + self.held

    def memory(self, blocks: int, start: int = 0) -> int:
        """What a context's blocks from number `start` to number `blocks` take."""
        footprint, size = self._footprint, self.block_size
        return footprint.blocks(blocks, size) - footprint.blocks(start, size)

    def memory_of(self, run: Run, blocks: int) -> int:
        """What the first so many blocks of a run take."""
        start = run.node.start
        return run.node.weight if blocks == run.node.blocks else self.memory(start + blocks, start)

    def reach(self, memory: int, limit: int) -> int:
        """How many blocks of a context, of at most `limit`, take no more than so much memory."""
        return self._footprint.reach(memory, self.block_size, limit)

    # --- contents ---------------------------------------------------------------------------------------------------

    def find(self, context: Context, limit: int) -> Match:
        """The longest prefix of the context that is there, of at most `limit` blocks."""
        runs: list[Run] = []
        node, blocks = self._root, 0
        if node.growing:
            self._settle(node)
        while True:
            child = self._child(node, context) if blocks < limit else None
            if child is None or not child.copies:
                return Match(runs, blocks, bool(node.growing))
            if child.growing:
                self._settle(child)
            runs.append(child.copies[0])
            blocks = self._common(child, context, min(child.end, limit))
            if blocks < child.end:
                return Match(runs, blocks, growing=False)
            node = child

    def adopt(self, table: Table, match: Match) -> None:
        """The request, which has nothing yet, uses what was found."""
        for run, blocks in match.parts():
            used = self._cut(run, blocks)
            self._leave_free(used)
            used.tables.add(table)
            table.runs.append(used)

    def extend(self, table: Table, blocks: int) -> None:
        """The request has its first `blocks` blocks full now: they can serve others with the same prefix."""
        node = table.runs[-1].node if table.runs else self._root
        if node.growing:
            self._settle(node, table)
        while node.end < blocks:
            child = self._child(node, table.context)
            if child is None:
                self._grow(node, table, blocks)
                return
            if child.growing:
                self._settle(child, table)
            common = self._common(child, table.context, min(child.end, blocks))
            node = self._split(child, common) if common < child.end else child
            self._copy(node, table)

    def start_growing(self, table: Table) -> None:
        """The request begins to decode."""
        self._tip(table).growing[table] = None

    def stop_growing(self, table: Table) -> None:
        """Writes down how far the request has come, before it does anything but decode."""
        del self._tip(table).growing[table]
        self.extend(table, table.computed // self.block_size)

    def _tip(self, table: Table) -> Node:
        return table.runs[-1].node if table.runs else self._root

    def _child(self, node: Node, context: Context) -> Node | None:
        start = node.end * self.block_size
        end = start + self.block_size
        return node.children.get(context.key(start, end)) if end <= context.tokens else None

    def _common(self, child: Node, context: Context, end: int) -> int:
        """How many blocks of the context are the child's and its ancestors', up to `end`; the first of it is."""
        known = (child.start + 1) * self.block_size
        return child.context.common(context, known, end * self.block_size) // self.block_size

    def _settle(self, node: Node, behind: Table | None = None) -> None:
        """Writes down how far those have come who decode from here on, as far as they are before `behind`."""
        place = _place(behind) if behind is not None and behind.steps else None
        for table in sorted(node.growing, key=_place):
            if table is behind or (place is not None and _place(table) > place):
                continue
            blocks = table.computed // self.block_size
            if blocks > node.end:
                del node.growing[table]
                self.extend(table, blocks)
                self._tip(table).growing[table] = None

    def _grow(self, node: Node, table: Table, blocks: int) -> None:
        """Adds blocks that nobody else has behind the node."""
        grown = blocks - node.end
        if len(node.copies) == 1 and not node.children:
            run = node.copies[0]
            if not run.pins and not run.trails and len(run.tables) == 1:
                self._resize(node, node.start, blocks)
                node.context = table.context
                return
        child = Node(node, node.end, grown, self.memory(blocks, node.end), table.context)
        self._link(child)
        self._copy(child, table)

    def _resize(self, node: Node, start: int, end: int) -> None:
        node.start, node.blocks, node.weight = start, end - start, self.memory(end, start)

    def _copy(self, node: Node, table: Table) -> None:
        run = Run(node)
        run.tables.add(table)
        node.copies.append(run)
        table.runs.append(run)

    def _link(self, node: Node) -> None:
        if node.parent is not None:
            node.parent.children[self._key(node)] = node

    def _key(self, node: Node) -> tuple[tuple[int, Tokens, Tokens], ...]:
        start = node.start * self.block_size
        return node.context.key(start, start + self.block_size)

    def _cut(self, run: Run, blocks: int) -> Run:
        """The run of the first `blocks` of its blocks, which is itself if these are all."""
        node = run.node
        if blocks == node.blocks:
            return run
        index = node.copies.index(run)
        return self._split(node, node.start + blocks).copies[index]

    def _split(self, node: Node, end: int) -> Node:
        """Cuts the node and its runs in two, the first of which ends at block `end`. Returns that one."""
        head = Node(node.parent, node.start, end - node.start, self.memory(end, node.start), node.context)
        self._link(head)
        node.parent = head
        self._resize(node, end, node.end)
        self._link(node)
        for run in node.copies:
            first = Run(head)
            first.tables, first.pins, first.trails = set(run.tables), set(run.pins), set(run.trails)
            head.copies.append(first)
            for holder in run.holders:
                holder.runs.insert(holder.runs.index(run), first)
            self._line.split(first, run)
        return head

    def _merge(self, run: Run, head: Run) -> bool:
        """Makes the run go on from its head where nothing tells the two apart. Returns whether it did."""
        node, upper = run.node, head.node
        if not (
            node.parent is upper
            and len(upper.children) == len(upper.copies) == len(node.copies) == 1
            and (run.newer is head or run.newer is head.newer is None)
            and not upper.growing
            and run.has_holders_of(head)
        ):
            return False
        for holder in head.holders:
            holder.runs.remove(head)
        self._line.merge(head)
        node.parent = upper.parent
        self._resize(node, upper.start, node.end)
        self._link(node)
        return True

    # --- use --------------------------------------------------------------------------------------------------------

    def take(self, count: int) -> None:
        """Takes so many takeable blocks into use; the contents they had are lost."""
        blank = min(count, self._blank)
        self._blank -= blank
        count -= blank
        while count:
            run = self._line.first
            if run is None:
                raise ValueError(f"{count} blocks more are to be taken than are free")
            count -= self._evict(run, count)

    def leave(self, table: Table) -> None:
        """A request no longer uses its blocks: their last is the first to be taken."""
        self._blank += self._unlisted(table)
        runs, table.runs = table.runs, []
        for run in reversed(runs):
            run.tables.remove(table)
            self._enter_free(run)
        if runs:
            last = runs.pop()
            while runs:
                head = runs.pop()
                last = last if self._merge(last, head) else head

    def _unlisted(self, table: Table) -> int:
        """The memory of a request's blocks that are not in its runs: the last one, and what the tree has not seen yet."""
        return self.memory(-(-table.computed // self.block_size), table.blocks)

    def _evict(self, run: Run, count: int) -> int:
        """Takes up to `count` blocks from the end of the line's first run. Returns how many."""
        taken = min(count, run.node.weight)
        if self._shrink(run, count):
            self._line.blocks -= taken
        else:
            self._line.remove(run)
            self._drop(run)
        return taken

    def _shrink(self, run: Run, count: int) -> bool:
        """Empties a free run from its end for `count` blocks of memory, or cuts what is to go off from the rest.

        Returns whether it is gone; if not, it is the run now.
        """
        node = run.node
        if node.weight < count:
            return False
        end = self.reach(self.memory(node.end) - count, node.end)
        if end == node.start:
            return False
        if node.children or len(node.copies) > 1:
            self._cut(run, end - node.start)
            return False
        self._resize(node, node.start, end)
        for trail in list(run.trails):
            _shorten(trail, trail.runs.index(run) + 1)
        return True

    def _drop(self, run: Run) -> None:
        """Forgets a run that nobody holds but trails, which end before it from now on."""
        run.node.copies.remove(run)
        for trail in list(run.trails):
            _shorten(trail, trail.runs.index(run))
        self._prune(run.node)

    def _prune(self, node: Node) -> None:
        """Forgets the node, and those above it, as far as nothing is left of them."""
        while node.parent is not None and not node.copies and not node.children:
            del node.parent.children[self._key(node)]
            node = node.parent

    def _enter_free(self, run: Run) -> None:
        if run.tables:
            return
        if run.pins:
            self.held += run.node.weight
            run.guardian.guarded += run.node.weight
        else:
            self._line.append(run)

    def _leave_free(self, run: Run) -> None:
        if run.tables:
            return
        if run.pins:
            self.held -= run.node.weight
            run.guardian.guarded -= run.node.weight
        else:
            self._line.remove(run)

    # --- pins and trails --------------------------------------------------------------------------------------------

    def follow(self, trail: Trail, runs: Sequence[Run]) -> None:
        """The trail is told what is left of these runs, instead of those it had."""
        _shorten(trail, 0)
        trail.runs = list(runs)
        for run in runs:
            run.trails.add(trail)

    def own(self, pin: Pin, runs: Sequence[Run]) -> None:
        """The pin holds the runs."""
        pin.runs = list(runs)
        for run in runs:
            self._leave_free(run)
            run.pins.add(pin)
            self._enter_free(run)

    def disown(self, pin: Pin) -> None:
        """The pin gives its runs up, the last of them first."""
        runs, pin.runs = pin.runs, []
        for run in reversed(runs):
            self._leave_free(run)
            run.pins.remove(pin)
            self._enter_free(run)

    def last_guarded(self, pin: Pin) -> Run:
        """The last of the free runs that the pin guards; it has to guard one."""
        return next(run for run in reversed(pin.runs) if not run.tables and run.guardian is pin)

    def strip(self, pin: Pin, count: int) -> tuple[int, set[Pin]]:
        """Takes up to `count` of the last free blocks that the pin guards into use, from all who hold them.

        Returns how many, and the pins that have lost them.
        """
        run = self.last_guarded(pin)
        taken, losers = min(count, run.node.weight), set(run.pins)
        self.held -= taken
        pin.guarded -= taken
        if not self._shrink(run, count):
            for loser in losers:
                loser.runs.remove(run)
            run.pins.clear()
            self._drop(run)
        return taken, losers

    # --- integrity --------------------------------------------------------------------------------------------------

    def faults(self, tables: Sequence[Table]) -> Iterator[str]:
        """What is wrong with the pool, given the tables of all requests."""
        nodes = list(self._nodes(self._root))
        runs = [run for node in nodes for run in node.copies]
        used = sum(map(self._unlisted, tables))
        used += sum(run.node.weight for run in runs if run.tables)
        if used + self.free != self.size:
            yield f"{used} blocks are in use and {self.free} free, of {self.size}"
        listed = set(self._line)
        if listed != {run for run in runs if not run.tables and not run.pins}:
            yield "the line of free blocks does not hold those that are free"
        if self._line.blocks != sum(run.node.weight for run in listed):
            yield "the line of free blocks is counted wrong"
        if self.held != sum(run.node.weight for run in runs if run.pins and not run.tables):
            yield "the blocks that pins hold are counted wrong"
        guarded = Counter[Pin]()
        for run in runs:
            if run.pins and not run.tables:
                guarded[run.guardian] += run.node.weight
            yield from _run_faults(run)
        for pin in {pin for run in runs for pin in run.pins}:
            if pin.guarded != guarded[pin]:
                yield f"the pin of {pin.program!r} guards {guarded[pin]} blocks, but counts {pin.guarded}"
        for node in nodes:
            yield from self._node_faults(node)

    def _nodes(self, node: Node) -> Iterator[Node]:
        for child in node.children.values():
            yield child
            yield from self._nodes(child)

    def _node_faults(self, node: Node) -> Iterator[str]:
        if node.parent is None or node.parent.end != node.start or node.blocks < 1:
            yield f"node {node.start}-{node.end} does not follow its parent"
        elif node.parent.children.get(self._key(node)) is not node:
            yield f"node {node.start}-{node.end} cannot be found"
        if node.weight != self.memory(node.end, node.start):
            yield f"node {node.start}-{node.end} is weighed wrong"
        if not node.copies and not node.children:
            yield f"node {node.start}-{node.end} is empty"


def _place(table: Table) -> tuple[Tokens, int]:
    """Tables that fill the same block do so in this order."""
    return -table.computed, table.turn


def _shorten(trail: Trail, length: int) -> None:
    for run in trail.runs[length:]:
        run.trails.remove(trail)
    del trail.runs[length:]


def _run_faults(run: Run) -> Iterator[str]:
    for holder in run.holders:
        if holder.runs.count(run) != 1:
            yield f"a holder of blocks {run.node.start}-{run.node.end} has them {holder.runs.count(run)} times"
