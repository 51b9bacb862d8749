"""Three versions of a reader of handwritten digits: one goes live, one goes back, one waits.

A story of about a minute, and an example to read: everything here goes through the doors that
every user has. Training is ``gatehouse train`` with the MLflow client inside the job (see
``digits/train.py``), the rest is REST, and predictions go through the gateway. Run by
``make demo``, or by hand against a running demo:

    GATEHOUSE_DEMO_JSON=.gatehouse/demo.json .venv/bin/python examples/story.py

A story that was interrupted goes on where it stopped; one that was told is not told again.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The command line's package, as `pip install ./cli` would provide it.
sys.path.insert(0, str(ROOT / "cli"))

from gatehouse_cli.errors import GatehouseError, Problem  # noqa: E402
from storybook import canary, live, training  # noqa: E402
from storybook.cast import Cast, introduce  # noqa: E402
from storybook.narrator import StoryError, tell  # noqa: E402
from storybook.reviews import Review  # noqa: E402

MODEL = training.MODEL
FIRST, SECOND, THIRD = training.KINDS


def main() -> int:
    """Tell the story; a failure is one line and a non-zero status."""
    try:
        cast = introduce()
        if Review(cast).has_been_asked_for(THIRD):
            tell("The story was told before; nothing is repeated.")
        else:
            play(cast)
        where_to_look(cast)
    except StoryError as error:
        tell(f"The story stops here. {error}")
        return 1
    except Problem as problem:
        tell(f"The story stops here. {problem.message} (request {problem.request_id})")
        return 1
    except GatehouseError as error:
        tell(f"The story stops here. {error.message}")
        return 1
    return 0


def play(cast: Cast) -> None:
    """Everything from the data to the promotion that is left waiting."""
    with tempfile.TemporaryDirectory(prefix="gatehouse-story-") as place:
        digits = training.register_data(cast, Path(place))
    live.prepare(cast)
    live.let_record_settle(cast)
    first = training.train(cast, FIRST)
    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(training.train_side_by_side, cast, SECOND, THIRD)
        put_live(cast, first)
        # One after the other behind the training; both are compared with what is live now.
        evaluated = [pool.submit(evaluate, cast, others, which) for which in (0, 1)]
        scanner = live.scanner(cast)
        live.read_first_digits(scanner, live.not_yet_read(cast, scanner, digits))
        second = evaluated[0].result()
        fresh = live.not_yet_read(cast, scanner, digits)
        canary.play(cast, second, scanner, fresh=fresh, replay=digits)
        third = evaluated[1].result()
    leave_waiting(cast, third)
    verify_ledger()


def put_live(cast: Cast, version: int) -> None:
    """The first version is evaluated, asked for by ``ci``, signed by ``approver``, and live."""
    review = Review(cast)
    review.evaluate(version)
    promotion = review.ask(version, reason="First reader of digits; nothing is live yet.")
    if promotion["state"] == "in_review":
        review.try_to_approve_own_work(promotion)
        promotion = review.approve(promotion, comment="0.94 on the holdout is a good beginning.")
    review.until_live(promotion)


def evaluate(cast: Cast, trained: Future[tuple[int, int]], which: int) -> int:
    """Return the number of a version that was trained, once there is evidence about it."""
    version = trained.result()[which]
    Review(cast).evaluate(version)
    return version


def leave_waiting(cast: Cast, version: int) -> None:
    """The third version has everything that a decision needs, and is left for you."""
    promotion = Review(cast).ask(
        version,
        reason="Compares whole images: better on faint ink, and reads the second scanner.",
        strategy="blue_green",
    )
    cast.ci.says(f"{promotion['reference']} waits for a reviewer: {promotion['url']}")


def verify_ledger() -> None:
    """The whole audit log is checked by the operator's command; it must say intact."""
    checked = subprocess.run(
        [sys.executable, "-m", "controlplane.local.manage", "ledger_verify"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = [line for line in (checked.stdout + checked.stderr).splitlines() if line.strip()]
    for line in lines[-2:]:
        tell(line, who="ledger")
    if checked.returncode != 0:
        raise StoryError(f"manage.py ledger_verify ended with {checked.returncode}.")


def where_to_look(cast: Cast) -> None:
    """Say which pages show what happened."""
    number = training.version_of(cast, THIRD)
    waiting = Review(cast).promotion_of(number) if number else None
    if waiting is None:
        return
    home = waiting["url"].partition("/promotions/")[0]
    tell(f"Decide:   {waiting['url']}  as approver")
    tell(f"Compare:  {home}/models/{MODEL}/  three versions, one of them live")
    tell(f"Look:     {cast.url}/audit/  who did what, and who was refused")


if __name__ == "__main__":
    sys.exit(main())
