"""Write the metrics as Prometheus reads them."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.api.core.metrics import Scrape, samples


class _Scraped(Collector):
    """One answer's worth."""

    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape

    def collect(self) -> Iterator[Metric]:
        """Give every metric, those without a sample, too."""
        for metric, labels, found in samples(self._scrape):
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = kind(metric.name, metric.help, labels=labels)
            for values, number in found:
                family.add_metric(values, number)
            yield family


def exposition(scrape: Scrape) -> bytes:
    """Write *scrape* and what the kernel says of this process. Blocks for 15 µs a sample: for a thread."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Scraped(scrape))
    ProcessCollector(namespace="roost_api", registry=registry)
    return generate_latest(registry)
