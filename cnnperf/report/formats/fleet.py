"""A judged fleet as Markdown, JUnit XML, JSON, a page, or a table in a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from xml.etree import ElementTree as ET

from cnnperf.compare.fleet.verdicts import BAD, DeviceVerdict, Fleet, JudgedDevice, JudgedHost
from cnnperf.errors import inert_json, printable
from cnnperf.record.schema import now
from cnnperf.report.formats.markdown import code, prose, table
from cnnperf.report.terminal.fleet import fleet_summary
from cnnperf.report.terminal.run import render

FILE_WIDTH = 120


def as_text(fleet: Fleet, form: str, *, everything: bool = False) -> str:
    """Return the fleet as text that ends with a newline."""
    if form == "json":
        return inert_json(fleet.model_dump_json(indent=2)) + "\n"
    if form == "junit":
        return to_junit(fleet)
    if form == "html":
        from cnnperf.report.html.fleets.page import fleet_page
        from cnnperf.report.html.page import render as render_page

        return render_page(fleet_page(fleet, everything=everything))
    if form == "markdown":
        return to_markdown(fleet, everything=everything)
    summary = fleet_summary(fleet, everything=everything)
    return render(summary, width=FILE_WIDTH, color=False)


def to_junit(fleet: Fleet) -> str:
    """Return one test suite with one test case a device.

    A slow or wrong device is a failure, a failed one an error; undecided and alone are skipped.
    """
    results = {device.name: _result(device.verdict) for device in fleet.devices}
    counts = Counter(results.values())
    root = ET.Element("testsuites")
    suite = ET.SubElement(
        root,
        "testsuite",
        name="cnnperf fleet judge",
        package="cnnperf",
        id="0",
        hostname="localhost",
        timestamp=f"{now():%Y-%m-%dT%H:%M:%S}",
        tests=str(len(fleet.devices)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
        time="0",
    )
    ET.SubElement(suite, "properties")
    for device in fleet.devices:
        case = ET.SubElement(
            suite, "testcase", classname="device", name=printable(device.name), time="0"
        )
        if (result := results[device.name]) is not None:
            message = printable("; ".join([device.verdict, *_details(device)]))
            attributes = {"message": message}
            if result != "skipped":  # Ant's schema gives `skipped` no type
                attributes["type"] = device.verdict
            ET.SubElement(case, result, attributes).text = message
    ET.SubElement(suite, "system-out").text = printable(fleet.summary)
    ET.SubElement(suite, "system-err")
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _result(verdict: DeviceVerdict) -> str | None:
    if verdict == "failed":
        return "error"
    if verdict in BAD:
        return "failure"
    return "skipped" if verdict in ("undecided", "alone") else None


def _details(device: JudgedDevice) -> Iterator[str]:
    if device.reason is not None:
        yield device.reason
    yield from _figures(device, "n")
    yield from device.causes


def _figures(judged: JudgedDevice | JudgedHost, counted: str) -> Iterator[str]:
    for figure in judged.figures:
        if figure.verdict != "normal":
            ratio = f"{figure.ratio:.3f} ({figure.low:.3f} to {figure.high:.3f})"
            yield f"{figure.case}: {figure.verdict}, ratio {ratio}, {counted}={figure.n}"


def to_markdown(fleet: Fleet, *, everything: bool = False) -> str:
    """Return the summary and a table of the devices to look at, worst first."""
    shown = [each for each in fleet.devices if everything or each.verdict != "normal"]
    lines = [
        (code(device.name), f"**{device.verdict}**", prose("; ".join(_details(device))))
        for device in shown
    ]
    parts = ["### cnnperf fleet judge", f"**{prose(fleet.summary)}**"]
    if lines:
        parts.append(table(("device", "verdict", "figures and likely causes"), lines))
    hosts = [
        (code(host.name), f"**{host.verdict}**", prose("; ".join(_figures(host, "cards"))))
        for host in fleet.hosts
        if everything or host.verdict in ("slow", "fast")
    ]
    if hosts:
        parts.append(table(("host", "verdict", "figures"), hosts))
    return "\n\n".join([*parts, *map(prose, fleet.notes)]) + "\n"
