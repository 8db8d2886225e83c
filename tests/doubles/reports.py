"""Reports made by hand, with names that want to harm whoever shows them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime

from hypothesis import strategies as st

from torchkeep.audit.report import Report
from torchkeep.core.finding import Finding, Location, Measured, State, Waiver
from torchkeep.core.items import ITEMS
from torchkeep.core.messages import message, plain
from torchkeep.core.rule import Control, Rule

PROJECT = "census"
MOMENT = datetime(2026, 8, 14, 9, 31, 5, 678000, tzinfo=UTC)

NASTY = (
    "<script>document.title='owned'</script>",
    "</title></style></svg></table></details><script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "'><svg onload=alert(1)>",
    "<!-- ",
    "]]>",
    "&lt;b&gt;&#x3c;",
    "{0} {{1}} {name}",
    "[click](https://evil.example/x)",
    "\\](javascript:alert(1))",
    "[a\\](b)",
    "**bold** _it_ `code` <b>|~#",
    "javascript:alert(1)",
    "//evil.example/x",
    "/etc/passwd",
    "file:///etc/passwd",
    "C:\\Windows",
    "a b?c#d%20e",
    "name\x1b[2J\x1b]0;owned\x07.pt",
    "\x00\x01\x7f\x85",
    "photo\u202egnp.pt",
    "\u2066zero\u200bwidth\ufeff",
    "two\nlines\r\nand\u2028three",
    "\udcff\udc80.pt",
    "\ud800 alone",
    "\uffff\ue000",
    "'; rm -rf ~ #",
    "$(id)`id`",
    "-rf",
    "--to=x",
    " ",
    "",
    "模型/权重.pt",
    "x" * 5000,
)

names = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=()), max_size=40)
"""Any text that a file can be called, stray bytes included."""

WAIVER = Waiver(
    rule="TK-TEST-001",
    reason="never leaves <the site>",
    owner="security@example.org",
    expires=date(2027, 3, 1),
)


def rule(id: str, item: str = "models.loading", **changes: object) -> Rule:
    """A rule with texts of its own."""
    texts = {
        "title": plain("Title of the test", "测试规则的标题"),
        "threat": plain("First line of <threat>.\nSecond line.", "威胁说明第一行。\n第二行。"),
        "measured": plain("By {hand}, with __care__.", "人工测量。"),
        "limits": plain("It ends [here](nowhere).", "到此为止。"),
        "fix": plain("Repair it.", "修复它。"),
    }
    settings: dict[str, object] = {
        "check": lambda project: (),
        "controls": (Control("OWASP AISVS", "1.0", "C6.1.1"),),
        "texts": texts,
    }
    return Rule(id=id, item=item, **(settings | changes))


def finding(subject: str = "a.pt", state: str = "fail", **changes: object) -> Finding:
    """A finding of the test rule."""
    settings: dict[str, object] = {
        "rule": "TK-TEST-001",
        "item": "models.loading",
        "reason": plain("seen by the test", "测试所见"),
    }
    return Finding(subject=subject, state=State(state), **(settings | changes))


def report(findings: Iterable[Finding], *rules: Rule, **changes: object) -> Report:
    """A report on these findings."""
    settings: dict[str, object] = {
        "project": PROJECT,
        "models": 2,
        "tables": 1,
        "files": 1234,
        "skipped": (".git", "data/<link>\u202e"),
        "profile": "baseline",
        "required": frozenset({"TK-TEST-001"}),
        "finished": MOMENT,
    }
    found = rules or (rule("TK-TEST-001"),)
    return Report(
        findings=tuple(findings), rules={entry.id: entry for entry in found}, **(settings | changes)
    )


def unmeasured() -> list[Finding]:
    """One row for every item that no rule has measured."""
    return [
        Finding(
            rule=item.rule,
            item=item.key,
            subject=PROJECT,
            state=State.NOT_MEASURED,
            reason=message("audit.unmeasured", title=item.title, command=item.command),
            fix=("torchkeep", "explain", item.rule),
        )
        for item in ITEMS
    ]


def everything() -> Report:
    """A report with every state, every nasty name in every place, waivers and a poor plug-in."""
    rows = [
        finding(
            name,
            "fail",
            reason=plain(f"about {name}", f"关于 {name}"),
            measured=Measured(value=name, unit="<unit>"),
            required=plain(f"not {name}", f"不得为 {name}"),
            fix=("torchkeep", "convert", "--", name),
            location=Location(path=name, member=name, offset=212),
        )
        for name in NASTY
    ]
    rows += [finding(f"{state.value}.pt", state.value) for state in State if state != "waived"]
    rows += [
        finding("waived.pt", "waived", waiver=WAIVER),
        finding("late.pt", "fail", waiver=WAIVER),
        finding("score", "warn", measured=Measured(value=0.413, interval=(0.391, 0.435), n=2000)),
        finding("line.py", "pass", location=Location(path="line.py", line=7)),
        finding("odd", "pass", rule="ACME 7 <b>", item="data.privacy"),
    ]
    poor = rule("ACME 7 <b>", "data.privacy", controls=(), texts={})
    missing = rule("TK-NOWHERE-001", texts={})
    return report(rows + unmeasured(), rule("TK-TEST-001"), poor, missing)
