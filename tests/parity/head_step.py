"""One training step of DINO+HSSL with each kind of auxiliary head, computed again in PyTorch."""

from comparison import Report
from dino_step import BASE, check
from one_step import merged
from program import Failed
from reference import heads


def main(plugins=None):
    report = Report()
    for plugin in heads.names(plugins):
        for name, section in heads.module(plugin).CASES.items():
            name = f"{plugin}: {name}"
            try:
                config = merged({**BASE, "heads": {}}, {"heads": {"aux": {"plugin": plugin, **section}}})
                check(name, config, 5, report)
            except Failed as error:
                report.failed(name, str(error))
    return report
