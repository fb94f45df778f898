"""Numbers held against each other, and the table that says how it went."""

from dataclasses import dataclass, field


@dataclass
class Check:
    """One line of the table."""

    name: str
    error: float
    tolerance: float
    note: str = ""

    @property
    def passed(self):
        # An error that is not a number fails.
        return self.error <= self.tolerance


@dataclass
class Report:
    """The checks of one script."""

    checks: list = field(default_factory=list)

    def close(self, name, found, expected, tolerance, note=""):
        """Compares two tensors, or two numbers, by their relative error."""
        self.checks.append(Check(name, relative_error(found, expected), tolerance, note))

    def all_close(self, name, found, expected, tolerance):
        """Compares tensors by name; the line names the worst one. A name that only one side has is an
        error of 1."""
        errors = {key: relative_error(found[key], expected[key]) for key in set(found) & set(expected)}
        self.worst(name, errors, set(found) ^ set(expected), tolerance)

    def gradients_close(self, name, found, expected, tolerance):
        """As `all_close`, but what is zero in theory (a shift ahead of a batch norm) and comes out as the
        rounding of f64 is held against the largest gradient of all."""
        largest = max((x.abs().max() for x in expected.values()), default=0.0)
        errors = {}
        for key in set(found) & set(expected):
            errors[key] = relative_error(found[key], expected[key])
            if expected[key].abs().max() < 1e-12 * largest:
                errors[key] = (found[key].abs().max() / largest).item()
        self.worst(name, errors, set(found) ^ set(expected), tolerance)

    def changes_close(self, name, before, found, expected, tolerance):
        """Compares what a step made of tensors by how far it moved them: a step that moves nothing is
        wrong by 1."""
        errors = {}
        for key in set(found) & set(expected):
            # What hardly moves is compared by its own size, or rounding would be all there is.
            floor = 1e-3 * expected[key].abs().max()
            scale = (expected[key] - before[key].double()).abs().max().maximum(floor)
            errors[key] = ((found[key].double() - expected[key]).abs().max() / scale).item()
        self.worst(name, errors, set(found) ^ set(expected), tolerance)

    def worst(self, name, errors, only, tolerance):
        """One line for many errors."""
        if only or not errors:
            note = f"only on one side: {', '.join(sorted(only)[:4])}" if only else "nothing to compare"
            self.checks.append(Check(name, 1.0, tolerance, note))
            return
        worst = max(errors, key=lambda key: errors[key] if errors[key] == errors[key] else 1e9)
        self.checks.append(Check(name, errors[worst], tolerance, f"{len(errors)} tensors; {worst}"))

    def equal(self, name, found, expected):
        """Compares what must be the same."""
        same = found == expected
        note = "" if same else f"{found}, not {expected}"
        self.checks.append(Check(name, 0.0 if same else 1.0, 0.0, note))

    def failed(self, name, note):
        """A check that could not be made."""
        self.checks.append(Check(name, float("nan"), 0.0, note))

    @property
    def passed(self):
        return bool(self.checks) and all(check.passed for check in self.checks)

    def print(self):
        width = max((len(check.name) for check in self.checks), default=4)
        for check in self.checks:
            verdict = "ok  " if check.passed else "FAIL"
            print(f"{verdict}  {check.name:<{width}}  {check.error:9.2e} <= {check.tolerance:.0e}  {check.note}")
        if not self.checks:
            print("FAIL  nothing was checked")


def relative_error(found, expected):
    """Largest difference over the largest magnitude."""
    if not hasattr(expected, "shape"):
        return abs(found - expected) / max(abs(expected), 1e-30)
    if found.shape != expected.shape:
        return float("inf")
    found, expected = found.double(), expected.double()
    scale = expected.abs().max().clamp_min(1e-30)
    return ((found - expected).abs().max() / scale).item()
