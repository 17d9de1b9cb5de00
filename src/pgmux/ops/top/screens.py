"""The screens of `pgmux top`: all panes of a pooler, one opened pool, and what is chosen from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer, Input, OptionList, Static, Tab, Tabs
from textual.widgets.option_list import Option

from pgmux.monitor.sample import Connections
from pgmux.ops.top import bars, head, panes
from pgmux.ops.top.grid import Grid
from pgmux.ops.top.table import Column, Table
from pgmux.ops.top.watch import Picture, PoolKey

if TYPE_CHECKING:
    from pgmux.ops.top.app import TopApp

HELP = """\
1 to 7, Tab      another table
↑ ↓ PgUp PgDn    another row; ← → more columns
Enter            open the row's pool: its clients, servers, waiters, times
Esc              back; no filter
s                sort by a column that you choose; < and > by the next one
r                the other way round
/                only rows that have a text in a name
p or Space       stop asking, go on
+ and -          ask less often, more often
q                leave

Applications, on average since the last sample: held is how many servers
they had; idle in tx, how many of these idled in a transaction; caused,
how many clients waited because of them; waits, how many of theirs waited.

pgmux top only asks: SHOW is all that it sends."""


class TableScreen(Screen[None]):
    """Lines about something, tabs, and the table of the tab that is open."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab,right_square_bracket", "tab(1)", "Next table", show=False),
        Binding("shift+tab,left_square_bracket", "tab(-1)", "Table before", show=False),
        *(Binding(str(n), f"nth_tab({n})", "Table", show=False) for n in range(1, 8)),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("s", "choose_column", "Sort"),
        Binding("escape", "back", "Back", show=False),
    ]
    DEFAULT_CSS = """
    TableScreen #head {
        height: auto; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis;
    }
    TableScreen Grid { height: 1fr; margin: 0 1; }
    TableScreen #message {
        height: 1; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis;
    }
    TableScreen #filter { height: 1; border: none; padding: 0 1; display: none; }
    TableScreen #filter.open { display: block; }
    """

    def __init__(self, tabs: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self.tabs = tabs
        self.grid = Grid()
        self._hidden: set[str] = set()  # names of tabs

    @property
    def top(self) -> TopApp:
        return cast("TopApp", self.app)

    def compose(self) -> ComposeResult:
        yield Static(id="head", markup=False)
        tabs = Tabs(*(Tab(f"{n} {title}", id=name) for n, (name, title) in enumerate(self.tabs, 1)))
        tabs.can_focus = False
        yield tabs
        yield self.grid
        yield Static(id="message", markup=False)
        yield Input(id="filter", placeholder="a part of a name; Enter keeps it, Esc drops it")
        yield Footer()

    def on_mount(self) -> None:
        self.grid.focus()
        self.draw()

    # What is shown

    def draw(self) -> None:
        """Shows the newest picture, and how new it is."""
        if not self.is_composed:
            return
        picture = self.top.pooler.picture
        if picture is not None:
            self.query_one("#head", Static).update(self._dim_if_stale(self.head_of(picture)))
            self._offer_tabs(picture)
            self._show_table(picture)
        self.draw_message()

    def draw_message(self) -> None:
        if self.is_composed:
            self.query_one("#message", Static).update(self.top.message(self.grid.wanted))

    @property
    def is_composed(self) -> bool:
        """Whether all of it is there to draw on: not at the very beginning, nor at the end."""
        parts = len(self.query("#head, #message")) + len(self.query(Tab))
        return parts == 2 + len(self.tabs)

    def _dim_if_stale(self, text: Text) -> Text:
        if self.top.pooler.failure is not None:
            text.stylize("dim")
        return text

    def _offer_tabs(self, picture: Picture) -> None:
        """Hides the tabs of tables that this console doesn't have."""
        tabs = self.query_one(Tabs)
        for name, _ in self.tabs:
            if self.is_told(name, picture) == (name in self._hidden):
                (tabs.show if name in self._hidden else tabs.hide)(name)
                self._hidden ^= {name}

    def _show_table(self, picture: Picture) -> None:
        name = self.query_one(Tabs).active or self.tabs[0][0]
        self.grid.show_table(name, self.table_of(name, picture))

    def head_of(self, picture: Picture) -> Text:
        """The lines above the tables."""
        raise NotImplementedError

    def table_of(self, name: str, picture: Picture) -> Table:
        """The table of a tab."""
        raise NotImplementedError

    def is_told(self, name: str, picture: Picture) -> bool:
        """Whether this console has that table."""
        raise NotImplementedError

    # Tabs

    def on_tabs_tab_activated(self) -> None:
        self.draw()

    def action_tab(self, by: int) -> None:
        tabs = self.query_one(Tabs)
        (tabs.action_next_tab if by > 0 else tabs.action_previous_tab)()

    def action_nth_tab(self, number: int) -> None:
        tabs = self.query_one(Tabs)
        if number <= len(self.tabs):
            name = self.tabs[number - 1][0]
            if name not in self._hidden:
                tabs.active = name

    # The filter

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.add_class("open")
        field.value = self.grid.wanted
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.grid.set_filter(event.value)

    def on_input_submitted(self) -> None:
        self._close_filter()

    def _close_filter(self) -> None:
        self.query_one("#filter").remove_class("open")
        self.grid.focus()
        self.draw()

    def action_back(self) -> None:
        """Undoes one thing: the filter, else what the screen is."""
        is_open = self.query_one("#filter").has_class("open")
        if is_open or self.grid.wanted:
            self.query_one("#filter", Input).value = ""
            self.grid.set_filter("")
            self._close_filter()
        else:
            self.leave()

    def leave(self) -> None:
        """What Esc does where no filter is left."""

    # Sorting

    def action_choose_column(self) -> None:
        def on_chosen(column: int | None) -> None:
            if column is not None:
                self.grid.sort(column)

        self.app.push_screen(ColumnChoice(self.grid.columns), on_chosen)


class PoolerScreen(TableScreen):
    """The whole pooler."""

    def __init__(self) -> None:
        super().__init__([(pane.name, pane.title) for pane in panes.PANES])
        self._panes = {pane.name: pane for pane in panes.PANES}

    def head_of(self, picture: Picture) -> Text:
        place = self.top.pooler.console.place
        width = max(20, self.size.width - 2)
        return Text("\n", no_wrap=True, overflow="ellipsis").join(
            [
                head.title(picture, place),
                head.work(picture),
                head.load(picture.sample),
                head.past(picture, width),
            ]
        )

    def table_of(self, name: str, picture: Picture) -> Table:
        return self._panes[name].table(picture)

    def is_told(self, name: str, picture: Picture) -> bool:
        return self._panes[name].is_told(picture)

    def on_grid_opened(self, event: Grid.Opened) -> None:
        if event.row.pool is not None:
            self.top.open_pool(event.row.pool)


class PoolScreen(TableScreen):
    """One pool: its times, clients, servers and waiters."""

    def __init__(self, pool: PoolKey) -> None:
        super().__init__([("clients", "Clients"), ("servers", "Servers"), ("waits", "Waiters")])
        self.pool = pool
        self.connections: Connections | None = None

    def head_of(self, picture: Picture) -> Text:
        lines = [head.pool_title(picture, self.pool)]
        if "HISTOGRAMS" not in picture.sample.not_told:
            lines.append(bars.draw_histograms(picture, self.pool, self.size.width - 2))
        return Text("\n", no_wrap=True, overflow="ellipsis").join(lines)

    def table_of(self, name: str, picture: Picture) -> Table:
        tables: dict[str, Callable[[Connections], Table]] = {
            "clients": panes.clients_of,
            "servers": panes.servers_of,
        }
        if name == "waits":
            return panes.waiters_of(picture, self.pool)
        if self.connections is None:
            return Table((), (), "Asking who is connected.")
        return tables[name](self.connections)

    def is_told(self, name: str, picture: Picture) -> bool:
        return name != "waits" or "WAITERS" not in picture.sample.not_told

    def leave(self) -> None:
        self.dismiss()


class ColumnChoice(ModalScreen[int | None]):
    """The columns of a table; answers the number of one, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "dismiss(None)", "Back")]
    DEFAULT_CSS = """
    ColumnChoice { align: center middle; }
    ColumnChoice OptionList { width: 30; height: auto; max-height: 90%; }
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        self._columns = columns

    def compose(self) -> ComposeResult:
        yield OptionList(*(Option(column.title) for column in self._columns))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_index)


class HelpScreen(ModalScreen[None]):
    """What the keys do."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss(None)", "Back")
    ]
    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen Static { width: 78; height: auto; border: round $primary; padding: 0 1; }
    """

    def __init__(self, more: str) -> None:
        super().__init__()
        self._more = more

    def compose(self) -> ComposeResult:
        yield Static("\n\n".join(filter(None, (HELP, self._more))), markup=False)
