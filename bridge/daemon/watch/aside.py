"""Work beside the loop: what reads files of unknown size and content, in a thread of its own.

The loop has to turn whatever is in a `metadata.yaml` and however slow a disk is. The thread does
one thing after another; one that hangs keeps the others waiting, not the loop.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Answer = TypeVar("Answer")


class Aside(Generic[Key, Answer]):
    """Answers questions one after another, in a thread that lives as long as there are any.

    Asked by one thread, the loop's; `_changed` guards all attributes.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._questions: dict[Key, Callable[[], Answer]] = {}
        self._answers: dict[Key, Answer] = {}
        self._asked: Key | None = None
        self._works = False
        self._defect: BaseException | None = None

    def ask(self, key: Key, question: Callable[[], Answer]) -> None:
        """Have a question answered; the same key asked again before that replaces it.

        Args:
            key: Under which the answer is given.
            question: What to do; everything that can go wrong is to be part of its answer.
        """
        with self._changed:
            self._questions[key] = question
            if not self._works:
                self._works = True
                threading.Thread(target=self._run, name="aside", daemon=True).start()

    @property
    def pending(self) -> int:
        """How many questions have not been answered, or their answers not been taken."""
        with self._changed:
            asked = self._asked is not None
            return len(self._questions) + asked + len(self._answers)

    def answers(self, *, wait_s: float) -> dict[Key, Answer]:
        """Take what was answered, waiting for something up to a time."""
        with self._changed:
            if not self._answers and self._works:
                self._changed.wait(wait_s)
            if self._defect is not None:
                raise self._defect
            taken, self._answers = self._answers, {}
            return taken

    def forget(self) -> None:
        """Drop all questions and answers."""
        with self._changed:
            self._questions.clear()
            self._answers.clear()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._questions:
                    self._works = False
                    self._changed.notify_all()
                    return
                key = next(iter(self._questions))
                question = self._questions.pop(key)
                self._asked = key
            try:
                answer = question()
            except BaseException as error:  # noqa: BLE001 - a defect of ours, raised in the loop
                with self._changed:
                    self._defect, self._works, self._asked = error, False, None
                    self._changed.notify_all()
                return
            with self._changed:
                self._asked = None
                self._answers[key] = answer
                self._changed.notify_all()
