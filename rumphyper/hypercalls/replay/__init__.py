"""Recording a run's answers, and giving them again in a later run."""

from rumphyper.hypercalls.replay.codecs import CODECS
from rumphyper.hypercalls.replay.player import Replay
from rumphyper.hypercalls.replay.recorder import Recorder
from rumphyper.hypercalls.replay.recording import Answer, read_recording

__all__ = ["CODECS", "Answer", "Recorder", "Replay", "read_recording"]
