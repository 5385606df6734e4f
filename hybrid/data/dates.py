"""Times written as ISO 8601 dates or date-times: seconds since 1970, in UTC where they name no zone."""

import re
from dataclasses import dataclass
from typing import Any

EXAMPLES = "such as 2021-01-31 or 2021-01-31T18:30:00Z"
DAY = re.compile(r"\d{4}-\d\d-\d\d")
ZONE = re.compile(r"[T ].*(Z|[+-]\d\d(:?\d\d)?)$")


@dataclass(frozen=True)
class Dates:
    """A column of dates, as the first of them is written: all name a zone, or none does."""

    first: str

    @property
    def type(self) -> Any:
        """The pyarrow type that parses such dates."""
        import pyarrow as pa

        return pa.timestamp("ns", "UTC" if ZONE.search(self.first) else None)

    def problem(self, value: str) -> str | None:
        """What is wrong with a value of the column, as the end of a sentence; None: nothing."""
        import pyarrow as pa

        try:
            pa.scalar(value, pa.string()).cast(self.type)
        except pa.ArrowInvalid:
            zone = "with" if self.type.tz else "without"
            return f"{value!r}; the first is {self.first!r}, so all must be ISO 8601 dates {zone} a zone"
        return None


def dates_like(value: str | None) -> Dates | None:
    """The dates of a column that begins with ``value``; None where that is no date."""
    return Dates(value) if value and DAY.match(value) else None


def seconds(column: Any) -> Any:
    """A pyarrow column of dates or timestamps as float64 seconds since 1970, exact to the microsecond."""
    import pyarrow as pa
    import pyarrow.compute as pc

    microseconds = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    return pc.divide(microseconds.cast(pa.float64(), safe=False), 1e6)
