# SPDX-License-Identifier: Apache-2.0
"""Errors that are answers, as small programs give them."""

import pytest

from ttfs_sw.common.errors import FailureError, InputError, ToolError, answered


@pytest.mark.parametrize(("error", "code"), [(FailureError, 1), (InputError, 2), (ToolError, 3)])
def test_an_answer_is_one_line_and_an_exit_code(capsys, error, code):
    @answered
    def main(what: str, *, more: int) -> int:
        raise error(f"{what} {more}")

    assert main("too many:", more=3) == code
    assert capsys.readouterr().err == "error: too many: 3\n"


def test_what_is_no_answer_goes_on():
    @answered
    def main(divisor: int) -> int:
        return 1 // divisor

    assert main(1) == 1
    with pytest.raises(ZeroDivisionError):
        main(0)
