"""A recipe: one experiment in one YAML. Each section is defined in the room it configures; here they come together."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from ..curriculum.config import CurriculumConfig
from ..data.config import DataConfig
from ..difficulty.config import LabellingConfig
from ..errors import nearest
from ..evaluation.config import FIRST, AnyMeasurement, Chrf, TextMeasurement
from ..generation.config import GenerationConfig
from ..models.config import LoraGenConfig, ModelConfig
from ..runtime.config import Section
from ..training.arguments import complete, problems
from ..training.config import DistributedConfig, SelectionConfig
from ..training.critic_config import CriticConfig
from ..weighting.config import WeightingConfig
from .comparison.config import CheckConfig, ComparisonConfig
from .share.config import ExpertsConfig, MergeConfig

SCORE = "score"
"""The keyword of `curriculum.labels` for labels that the run makes."""
MAX_SEED = 2**32 - 1  # the most that numpy takes
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
_FOLDER_NAME = re.compile(r"\w[\w.=+-]*")


def folder_name(name: str) -> str:
    """Names of recipes and arms become folders."""
    if not _FOLDER_NAME.fullmatch(name):
        raise ValueError("a name is a folder's name too: letters, digits and _ . = + - only, a letter or digit first")
    return name


def made_folder_name(text: str) -> str:
    """A folder name out of any text, such as a file's stem."""
    return re.sub(r"[^\w.=+-]+", "-", text).strip(".=+-") or "experiment"


def _each_once(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed is written twice")
    return seeds


def _wrong(path: tuple[str | int, ...], message: str) -> PydanticCustomError:
    """A mistake that concerns one key, found where several are in view; `path` says which."""
    return PydanticCustomError("recipe", "{message}", {"message": message, "path": path})


class Settings(Section):
    """What one run needs, but for its seed; an arm may change anything here, and nothing else."""

    model: ModelConfig
    """The model that is trained."""
    data: DataConfig
    """What it is trained on."""
    curriculum: CurriculumConfig = CurriculumConfig()
    """Which example comes when."""
    difficulty: LabellingConfig = LabellingConfig()
    """How labels are made for a curriculum that asks for them; docs/difficulty.md."""
    weighting: WeightingConfig = WeightingConfig()
    """Which token weighs how much."""
    critic: CriticConfig | None = None
    """A value head that learns, from the rows' rewards, what comes of each state; docs/critic.md."""
    trainer: Literal["hf", "trl", "none"] = "hf"
    """The trainer underneath: transformers.Trainer (hf) or trl.SFTTrainer (trl); both train the same way. With `none`
    the model is measured as it is: the untouched base as an arm."""
    merge: MergeConfig | None = None
    """Nothing is trained, and the model is made out of the models of other arms; docs/experts.md."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Arguments of TrainingArguments (of SFTConfig for trl) by their own names; docs/training-arguments.md has all."""
    distributed: DistributedConfig = DistributedConfig()
    """How the run is spread over processes."""
    evaluation: list[AnyMeasurement] = Field(default_factory=list)
    """What is measured when the run is finished, each entry by its `metric`."""
    generation: GenerationConfig = GenerationConfig()
    """How answers are generated, once for all metrics that need them."""
    selection: SelectionConfig = SelectionConfig()
    """Which checkpoint becomes the model, and when to stop early."""

    @property
    def trains(self) -> bool:
        """Whether a run has steps; else its model is the untouched one, or is merged out of others."""
        return self.trainer != "none" and self.merge is None

    @property
    def generator(self) -> LoraGenConfig | None:
        """The generator that is trained; an untouched model has none."""
        return self.model.lora_gen if self.trains else None

    @property
    def label_file(self) -> str | None:
        """The label file that the run goes by, where a file is named and no keyword."""
        asked = self.curriculum.labels
        return asked if self.curriculum.reads_labels and asked not in ("data", "length", SCORE) else None

    @property
    def makes_labels(self) -> bool:
        """Whether the run goes by labels that it makes itself, or would if they were not there."""
        if not self.trains or not self.curriculum.reads_labels:
            return False
        return self.curriculum.labels == SCORE or (self.label_file is not None and self.difficulty.cloud is not None)

    @model_validator(mode="before")
    @classmethod
    def _whole_training(cls, given: Any) -> Any:
        """Check the arguments and write our defaults beside them, so that a resolved recipe says all it does."""
        training = given.get("training") if isinstance(given, dict) else None
        trainer = given.get("trainer", "hf") if isinstance(given, dict) else None
        if trainer not in ("hf", "trl", "none") or not isinstance(training, dict | None):
            return given  # the fields' own checks say what is wrong
        # An arm that trains nothing has the base's arguments, SFTConfig's too.
        for name, problem in problems(training or {}, "hf" if trainer == "hf" else "trl"):
            raise _wrong(("training", name), problem)
        return {**given, "training": complete(training or {})}

    @model_validator(mode="after")
    def _sections_agree(self) -> Settings:
        when = self.training.get("eval_strategy")
        self._labels_differ()
        self._lora_gen_fits()
        self._critic_fits()
        self._weighting_fits()
        self._merge_fits()
        if self.data.eval is None:
            if when not in (None, "no"):
                raise _wrong(("training", "eval_strategy"), f"is {when}, but there is no `data.eval` to evaluate on")
            if self.selection.metric is not None:
                raise _wrong(("selection", "metric"), "needs held-out examples; set `data.eval`")
            if self.evaluation:
                raise _wrong(("evaluation",), "needs held-out examples; set `data.eval`")
        if self.selection.metric not in (None, *self.watched_figures()):
            known = nearest(str(self.selection.metric), self.watched_figures())
            raise _wrong(("selection", "metric"), f"is {self.selection.metric}, which no `evaluation` gives; {known}")
        if self.selection.metric is None and self.selection.patience is not None:
            raise _wrong(("selection", "patience"), "needs a measure to watch; set `selection.metric`")
        if self.selection.metric is not None and when == "no":
            raise _wrong(("selection", "metric"), "needs evaluations, but `training.eval_strategy` is no")
        if problem := self.selection.averaging_problem(self.training):
            raise _wrong(*problem)
        return self

    def watched(self) -> list[TextMeasurement]:
        """The text metrics of every evaluation in training: those that ask for it, and the one that chooses the
        checkpoint, which may be chrF without an entry of its own."""
        chosen = self.selection
        entries: list[TextMeasurement] = []
        for entry in self.evaluation:
            if isinstance(entry, TextMeasurement):
                chooses = chosen.metric in entry.figures()
                if entry.during_training or chooses:
                    num = entry.during_training or FIRST
                    num = (chosen.num_examples or num) if chooses else num
                    entries.append(entry.model_copy(update={"during_training": num}))
        if chosen.metric == "chrf" and not any(chosen.metric in entry.figures() for entry in entries):
            entries.append(Chrf(metric="chrf", during_training=chosen.num_examples or FIRST))
        return entries

    def watched_figures(self) -> list[str]:
        """What can be measured while training, by name."""
        texts = [entry for entry in self.evaluation if isinstance(entry, TextMeasurement)]
        return list(dict.fromkeys(["loss", "chrf", *(figure for entry in texts for figure in entry.figures())]))

    def _lora_gen_fits(self) -> None:
        """What goes through one document at a time with its system prompt; the rest is for an exported adapter."""
        if self.generator is None:
            return
        if self.trainer != "hf":
            raise _wrong(("trainer",), f"is {self.trainer}, but `model.lora_gen` is trained by hf")
        if self.distributed.sharded is not None:
            raise _wrong(("distributed", "fsdp"), "does not go with `model.lora_gen`; several processes without it do")
        for place, entry in enumerate(self.evaluation):
            if entry.metric not in ("loss", "token_accuracy"):
                message = (
                    f"is {entry.metric}; of a model with `model.lora_gen` loss and token_accuracy are measured. For "
                    "others, export the adapter of a system prompt and evaluate that"
                )
                raise _wrong(("evaluation", place, "metric"), message)
        if self.selection.metric not in (None, "loss"):
            raise _wrong(("selection", "metric"), f"is {self.selection.metric}; with `model.lora_gen` it is loss")

    def _critic_fits(self) -> None:
        if self.critic is None or not self.trains:
            return
        if self.generator is not None:
            raise _wrong(("critic",), "does not go with `model.lora_gen`; leave one of them out, or set it to null")
        if self.data.reward_field is None:
            message = "needs to know which rows are good; name the column that says so in `data.reward_field`"
            raise _wrong(("critic",), message)

    def _weighting_fits(self) -> None:
        """What a weighting goes by is named elsewhere in the recipe."""
        if not self.trains:
            return
        kind = self.weighting.kind
        if kind == "td_error" and self.critic is None:
            raise _wrong(("weighting", "kind"), "is td_error, which goes by the values of a critic; set `critic: {}`")
        if self.critic is not None and self.critic.pretrains and kind != "uniform":
            raise _wrong(
                ("weighting", "kind"), f"is {kind}, but in `critic.stage: pretrain` no token is learned; leave it out"
            )
        for needing, name in (("correct_only", "reward_field"), ("column", "weight_field")):
            if kind == needing and getattr(self.data, name) is None:
                raise _wrong(("weighting", "kind"), f"is {kind}; name the column that it goes by in `data.{name}`")

    def _merge_fits(self) -> None:
        """What is merged is named, and what a search goes by."""
        if self.merge is None:
            return
        if len(self.merge.arms) < 1:
            raise _wrong(("merge", "arms"), "names no arm; say whose models are merged")
        if self.merge.searches and self.merge.validation is None:
            message = "names no rows, and `merge.weights` are searched; give rows apart from `data.eval`, or weights"
            raise _wrong(("merge", "validation"), message)
        if self.model.lora_gen is not None or self.model.quantization is not None:
            raise _wrong(("merge",), "goes with whole models and LoRA adapters, and not with lora_gen or quantization")

    def _labels_differ(self) -> None:
        labels = [entry.label for entry in self.evaluation]
        for place, label in enumerate(labels):
            if label in labels[:place]:
                raise _wrong(("evaluation", place), f"is the second one called `{label}`; give it a `name` of its own")


class Recipe(Settings):
    """One experiment: the settings of its base, and how arms and seeds differ from it."""

    name: Annotated[str, AfterValidator(folder_name)] = "experiment"
    """The experiment's name, and its folder under `runs/`; by default the recipe file's own name."""
    seed: Seed = 42
    """The seed of a run, from which every random stream has its own."""
    seeds: Annotated[list[Seed], AfterValidator(_each_once)] = Field(default_factory=list)
    """Several seeds, each a run of every arm; `seed` is then not used."""
    arms: dict[Annotated[str, AfterValidator(folder_name)], dict[str, Any]] = Field(default_factory=dict)
    """The variants that are compared: a name -> what differs from the base, `{}` for the base itself. Mappings are
    merged, lists are replaced. Without arms there is one, called base."""
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    """A dotted key -> the values it takes. Every combination becomes an arm (of every arm, where there are `arms`)."""
    comparison: ComparisonConfig = ComparisonConfig()
    """How the arms are compared once they are measured."""
    checks: list[str | CheckConfig] = Field(default_factory=list)
    """Lines that must hold, judged after the runs: `rouge.sum > 70`, or {arm, check, otherwise}."""
    presets: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Named changes of the base, taken on when `preset` asks for them; docs/recipes.md has the built-in ones."""
    preset: Annotated[list[str], BeforeValidator(lambda given: [given] if isinstance(given, str) else given)] = Field(
        default_factory=list
    )
    """The presets that are taken on, in this order; `--preset` is the same."""
    experts: ExpertsConfig | None = None
    """Domain experts, their merge and its controls, written in short: each becomes an arm; docs/experts.md."""
    extends: str | None = None
    """Another recipe to start from, relative to this file; what is written here wins."""
