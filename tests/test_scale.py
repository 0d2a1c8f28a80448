"""The page of arithmetic says what its numbers come to."""

from tests.bench.scale import PAGE, page_with_table


def test_the_table_of_costs_is_what_the_measured_rates_come_to():
    page = PAGE.read_text()
    assert page == page_with_table(page), "python -m tests.bench.scale --write"
