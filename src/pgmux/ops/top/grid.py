"""A table on the screen whose lines are made when they are drawn, however many rows there are.

Textual's own DataTable keeps a widget's state for each cell, which a thousand pools that all change
every second would have it make again. Here a refresh costs what is visible, and the cursor stays at
the row that it is on, by its key, wherever that is sorted to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from pgmux.ops.top.table import Column, Row, Table, filter_rows, sort_rows

GAP = 1  # characters between columns
WIDEST = 40  # characters of a text
_HEADER = 1  # lines


@dataclass(slots=True)
class Order:
    """How one table is sorted, by which column or in its own order; and how wide columns are."""

    column: int | None = None
    is_reversed: bool = False
    widths: list[int] | None = None


class Grid(ScrollView, can_focus=True):
    """Shows one table at a time; remembers of each by its name how it is sorted."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"grid--header", "grid--cursor", "grid--alarm"}
    DEFAULT_CSS = """
    Grid { background: $background; }
    Grid .grid--header { text-style: bold; color: $text-muted; }
    Grid .grid--cursor { text-style: reverse; }
    Grid .grid--alarm { text-style: bold; color: $text-error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "move(-1000000)", "First", show=False),
        Binding("end,G", "move(1000000)", "Last", show=False),
        Binding("less_than_sign", "sort_by(-1)", "Sort", key_display="<", show=False),
        Binding("greater_than_sign", "sort_by(1)", "Sort", key_display=">", show=False),
        Binding("r", "reverse", "Reverse"),
        Binding("enter", "open", "Open"),
    ]

    @dataclass
    class Opened(Message):
        """Enter, or a second click, on a row."""

        row: Row

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self.wanted = ""
        self._table = Table((), (), "")
        self._order = Order(widths=[])
        self._orders: dict[str, Order] = {}
        self._key: tuple[str, ...] | None = None  # of the row that has the cursor
        self._cursor = 0

    # What is shown

    def show_table(self, name: str, table: Table) -> None:
        """The table of that name as it is now."""
        order = self._orders.setdefault(name, Order())
        if order is not self._order:
            self._key, self._cursor = None, 0
            self.scroll_to(0, 0, animate=False, immediate=True)
        self._order, self._table = order, table
        self._arrange()

    def set_filter(self, wanted: str) -> None:
        """Only rows that have this in one of their texts."""
        self.wanted = wanted
        self._arrange()

    def sort(self, column: int | None) -> None:
        """By that column; once more the other way round."""
        if column == self._order.column:
            self._order.is_reversed = not self._order.is_reversed
        else:
            self._order.column, self._order.is_reversed = column, False
        self._arrange()

    @property
    def columns(self) -> tuple[Column, ...]:
        return self._table.columns

    @property
    def row(self) -> Row | None:
        """The row that has the cursor."""
        return self.rows[self._cursor] if self._cursor < len(self.rows) else None

    def _arrange(self) -> None:
        """Sorts and filters; the cursor follows its row, or stays where it is."""
        order = self._order
        rows = sort_rows(self._table, order.column, is_reversed=order.is_reversed)
        self.rows = filter_rows(self._table, rows, self.wanted)
        if self._key is not None:
            keys = [row.key for row in self.rows]
            if self._key in keys:
                self._cursor = keys.index(self._key)
        self._place_cursor(self._cursor)
        self._measure()
        self.refresh()

    def _place_cursor(self, index: int) -> None:
        self._cursor = max(0, min(index, len(self.rows) - 1))
        self._key = self.row.key if self.row else None

    def _measure(self) -> None:
        """Columns as wide as what is visible needs; no column becomes narrower."""
        widths = self._order.widths
        if widths is None or len(widths) != len(self.columns):
            widths = [cell_len(column.title) + 1 for column in self.columns]
        for row in self._visible_rows():
            for number, column in enumerate(self.columns):
                shown = min(WIDEST, cell_len(column.show(row.values[number])))
                widths[number] = max(widths[number], shown)
        self._order.widths = widths
        self.virtual_size = Size(sum(widths) + GAP * len(widths), len(self.rows) + _HEADER)

    def _visible_rows(self) -> list[Row]:
        top = round(self.scroll_offset.y)
        return self.rows[top : top + max(1, self.size.height)]

    # Drawing

    def render_line(self, y: int) -> Strip:
        """One line of the widget: the headings, a row, or nothing."""
        left, top = self.scroll_offset
        index = top + y - _HEADER
        if y == 0:
            strip = self._draw_header()
        elif index < len(self.rows):
            strip = self._draw_row(self.rows[index], is_cursor=index == self._cursor)
        else:
            text = self._table.empty if y == _HEADER and not self._table.rows else ""
            strip = Strip([Segment(text, self.rich_style)])
            return strip.adjust_cell_length(self.size.width, self.rich_style)
        return strip.crop_extend(left, left + self.size.width, self.rich_style)

    def _draw_header(self) -> Strip:
        style = self.get_component_rich_style("grid--header")
        order = self._order
        cells = []
        for number, column in enumerate(self.columns):
            title = column.title
            if number == order.column:
                is_up = order.is_reversed != column.is_text  # the smallest comes first
                title += "▲" if is_up else "▼"
            cells.append(Segment(self._fit(number, title), style))
        return Strip(cells)

    def _draw_row(self, row: Row, *, is_cursor: bool) -> Strip:
        style = self.rich_style
        alarm = style + self.get_component_rich_style("grid--alarm", partial=True)
        mark = self.get_component_rich_style("grid--cursor", partial=True) if is_cursor else Style()
        cells = []
        for number, column in enumerate(self.columns):
            value = row.values[number]
            wants_attention = column.is_alarm and bool(value)
            text = self._fit(number, column.show(value))
            cells.append(Segment(text, (alarm if wants_attention else style) + mark))
        return Strip(cells)

    def _fit(self, number: int, text: str) -> str:
        """The text as wide as its column; numbers to the right."""
        widths = self._order.widths or []
        width, space = widths[number], " " * GAP
        missing = width - cell_len(text)
        if missing < 0:
            return set_cell_size(text, width - 1) + "…" + space
        if self.columns[number].is_text:
            return text + " " * missing + space
        return " " * missing + text + space

    # Keys and the mouse

    def action_move(self, by: int) -> None:
        self._place_cursor(self._cursor + by)
        self._follow_cursor()

    def action_page(self, by: int) -> None:
        self.action_move(by * max(1, self.size.height - _HEADER - 1))

    def _follow_cursor(self) -> None:
        """Scrolls as little as makes the cursor's row visible."""
        top, height = round(self.scroll_offset.y), max(1, self.size.height - _HEADER)
        wanted = min(max(top, self._cursor - height + 1), self._cursor)
        self.scroll_to(y=wanted, animate=False, immediate=True)
        self._measure()
        self.refresh()

    def action_sort_by(self, by: int) -> None:
        """By the next column, or the one before; before the first is the table's own order."""
        at = -1 if self._order.column is None else self._order.column
        at = (at + by + 1) % (len(self.columns) + 1) - 1
        self._order.column, self._order.is_reversed = (None if at < 0 else at), False
        self._arrange()

    def action_reverse(self) -> None:
        self._order.is_reversed = not self._order.is_reversed
        self._arrange()

    def action_open(self) -> None:
        if self.row is not None:
            self.post_message(self.Opened(self.row))

    def on_resize(self) -> None:
        self._follow_cursor()

    def on_click(self, event: events.Click) -> None:
        """A heading sorts; a row gets the cursor, and at the second click is opened."""
        if event.y == 0:
            self.sort(self._column_at(event.x + round(self.scroll_offset.x)))
            return
        index = round(self.scroll_offset.y) + event.y - _HEADER
        if index < len(self.rows):
            self._place_cursor(index)
            self._follow_cursor()
            if event.chain > 1:
                self.action_open()

    def _column_at(self, x: int) -> int | None:
        for number, width in enumerate(self._order.widths or []):
            x -= width + GAP
            if x < 0:
                return number
        return None

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Other rows are visible now: they may be wider."""
        super().watch_scroll_y(old_value, new_value)
        self._measure()
