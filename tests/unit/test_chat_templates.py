"""Chat templates by name and by file: what they write, which token ends a response, which templates are refused."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from transformers import AutoTokenizer, GenerationConfig
from transformers.utils.chat_template_utils import render_jinja_template

from vt_ray.config import ConfigError, DataConfig, ModelConfig
from vt_ray.data.chat_templates import BUILT_IN, control_tokens, template_text
from vt_ray.data.prompts import PromptEncoder
from vt_ray.data.traces.trace import Message, Trace
from vt_ray.engines.base_model import prepare_base_model, tokenizer_at_hand
from vt_ray.records import Problem, Solution
from vt_ray.run.inputs import model_files
from vt_ray.spectrum_phase.fusion import fuse, take_tokenizer

SMALL = {"hidden_size": 32, "num_layers": 1, "num_heads": 1, "intermediate_size": 32}
CORPUS = ["What is 1+1? The answer is 2.", "<think>\nadd\n</think>\n\nok"]
CHATML = "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n"
PROBLEM = Problem("q", "algebra", "math", "1+1?", "2", solutions=(Solution("direct", "It is 2."),))
TRACE = Trace((Message("user", "1+1?"),), "add", "It is 2.")


def base(folder, **model):
    prepare_base_model(ModelConfig(**SMALL, **model), CORPUS, 0, folder)
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The folder of a model with its own template and the EOS token <|end|>."""
    return base(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module", params=BUILT_IN)
def built_in(request, tmp_path_factory):
    return request.param, base(tmp_path_factory.mktemp(request.param), chat_template=request.param)


def encoder_of(folder, **data):
    return PromptEncoder(AutoTokenizer.from_pretrained(folder), DataConfig(**data))


def decoded(encoder, ids):
    return encoder.tokenizer.decode(ids)


def test_the_names_are_those_of_the_files():
    assert BUILT_IN == ("qwen_plain", "think")


def test_the_saved_model_has_the_template_and_stops_on_its_end_token(built_in):
    name, folder = built_in
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (folder / "chat_template.jinja").read_text() == template_text(name) == tokenizer.chat_template
    assert tokenizer.eos_token == "<|im_end|>"
    assert len(tokenizer("<|im_start|><|im_end|>", add_special_tokens=False)["input_ids"]) == 2
    assert json.loads((folder / "config.json").read_text())["eos_token_id"] == tokenizer.eos_token_id
    assert GenerationConfig.from_pretrained(folder).eos_token_id[0] == tokenizer.eos_token_id


def test_a_prompt_has_no_system_message_unless_one_is_set(built_in):
    name, folder = built_in
    opened = "<think>\n" if name == "think" else ""
    plain, told = encoder_of(folder), encoder_of(folder, system="Be brief.")
    assert decoded(plain, plain.prompt_ids(PROBLEM)) == CHATML + opened
    assert decoded(told, told.prompt_ids(PROBLEM)) == f"<|im_start|>system\nBe brief.<|im_end|>\n{CHATML}{opened}"


def test_what_sft_learns_is_what_the_template_writes_for_the_whole_chat(built_in):
    """Reasoning, its tags and the end token each stand once."""
    name, folder = built_in
    e = encoder_of(folder)
    (example,) = e.traces([TRACE])
    chat = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": TRACE.text}]
    whole = e.tokenizer.apply_chat_template(chat, tokenize=False)
    assert decoded(e, [*example.prompt_ids, *example.completion_ids]) + "\n" == whole
    assert whole.count("<think>") == whole.count("</think>") == 1


def test_a_worked_solution_closes_the_reasoning_that_its_prompt_opens(built_in):
    name, folder = built_in
    e = encoder_of(folder)
    (example,) = e.solutions([PROBLEM], [])
    expected = "\n</think>\n\nIt is 2." if name == "think" else "It is 2."
    assert decoded(e, example.completion_ids) == expected + "<|im_end|>"


def test_a_worked_solution_with_half_a_reasoning_part_is_refused_where_the_prompt_opens_it(tmp_path):
    e = encoder_of(base(tmp_path, chat_template="think"))
    whole = Problem("q", "algebra", "math", "1+1?", solutions=(Solution("direct", "<think>add</think>It is 2."),))
    (example,) = e.solutions([whole], [])
    assert decoded(e, example.completion_ids) == "add\n</think>\n\nIt is 2.<|im_end|>"
    half = Problem("q", "algebra", "math", "1+1?", solutions=(Solution("direct", "<think>add"),), source="f", row=3)
    with pytest.raises(ConfigError, match=r"f, row 3: the worked solution has cut off.*opens <think>"):
        list(e.solutions([half], []))


def test_earlier_reasoning_is_left_out_of_a_later_prompt():
    text = template_text("think")
    tokenizer = RenderingTokenizer()
    chat = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "<think>\nlong\n</think>\n\nb"},
        {"role": "user", "content": "c"},
    ]
    assert "long" not in tokenizer.apply_chat_template(chat, chat_template=text, add_generation_prompt=True)


class RenderingTokenizer:
    """Renders templates; it has no vocabulary of its own."""

    def apply_chat_template(self, messages, chat_template, add_generation_prompt, tokenize=False):
        rendered, _ = render_jinja_template(
            [messages], chat_template=chat_template, **{"add_generation_prompt": add_generation_prompt}
        )
        return rendered[0]


def test_a_prompt_that_opens_the_reasoning_says_so_to_the_verifier(built_in):
    name, folder = built_in
    (prompt,) = encoder_of(folder).prompts([PROBLEM], 1, ("k",))
    assert prompt.problem.reasoning_open == (name == "think")


# --- files ------------------------------------------------------------------------------------------------------------


def jinja(tmp_path, text):
    path = tmp_path / "mine.jinja"
    path.write_text(text, encoding="utf-8")
    return str(path)


def roles(end):
    """A template that writes `end` after each message."""
    each = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}" + end + "{% endfor %}"
    return each + "{% if add_generation_prompt %}<|assistant|>{% endif %}"


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (roles("<|end|>\n"), "<|end|>"),
        (roles(" <|end|>"), "<|end|>"),
        (roles("{{ eos_token }}"), "<|end|>"),
        (roles("<|endoftext|>"), "<|endoftext|>"),
        (roles(""), "<|end|>"),
        ("\ufeff" + roles("<|end|>"), "<|end|>"),
    ],
)
def test_the_token_after_a_response_becomes_the_eos_token(own, tmp_path, text, end):
    path = jinja(tmp_path, text)
    tokenizer = tokenizer_at_hand(ModelConfig(source="hf", path=str(own), chat_template=path), download=False)
    assert tokenizer.eos_token == end
    assert tokenizer.chat_template == text.removeprefix("\ufeff")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("{% for m in messages %}{{ m.content }}", "line 1: "),
        ("{{ messages[0].content }}", "leaves out the message of the assistant"),
        ("{% if add_generation_prompt %}x{% endif %}", "leaves out the message of the user"),
        ('{"chat_template": "x"}', "leaves out the message of the user"),
        ("{{ raise_exception('no chat here') }}", "fails on a chat of user and assistant.*no chat here"),
        ("{{ messages[0].content.nothing() }}", "fails on a chat"),
        ((roles("<|end|>")).partition("{% if")[0], "writes '<|assistant|>' before a response"),
        (roles("<|im_end|>"), "ends a response with <|im_end|>, which is not a token of this tokenizer"),
    ],
)
def test_a_template_that_cannot_be_right_is_refused_with_its_name(own, tmp_path, text, said):
    path = jinja(tmp_path, text)
    with pytest.raises(ConfigError, match=f"(?s)chat_template='{path}'.*{re.escape(said) if '|' in said else said}"):
        tokenizer_at_hand(ModelConfig(source="hf", path=str(own), chat_template=path), download=False)


def test_a_name_that_is_neither_built_in_nor_a_file_is_refused_with_the_names(tmp_path):
    for name in ("qwen", "/nowhere/t.jinja", str(tmp_path), "\0"):
        with pytest.raises(ConfigError, match="neither qwen_plain nor think nor a file"):
            template_text(name)
    binary = tmp_path / "binary.jinja"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        template_text(str(binary))


def test_tags_of_transformers_are_known(own, tmp_path):
    text = (
        "{% for m in messages %}<|{{ m.role }}|>{% generation %}{{ m.content }}<|end|>{% endgeneration %}{% endfor %}"
    )
    path = jinja(tmp_path, text + "{% if add_generation_prompt %}<|assistant|>{% endif %}")
    assert tokenizer_at_hand(ModelConfig(source="hf", path=str(own), chat_template=path), False).eos_token == "<|end|>"


FOREIGN = {
    # As Gemma: no system message, "model" in place of "assistant".
    "without system": (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for m in messages %}<|{{ 'model' if m.role == 'assistant' else m.role }}|>{{ m.content | trim }}<|end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|model|>{% endif %}",
        "<|user|>S.\n\n1+1?<|end|>\n<|model|>",
        "<think>\nadd\n</think>\n\nIt is 2.<|end|>",
    ),
    # As Llama 2: no generation prompt, because the mark of a question's end begins the response.
    "without generation prompt": (
        "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
        "{% elif m.role == 'assistant' %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}",
        "[INST] S.\n\n1+1? [/INST]",
        "<think>\nadd\n</think>\n\nIt is 2.<|end|>",
    ),
    # As DeepSeek-R1-Distill: the system message without a mark, the reasoning opened.
    "with open reasoning": (
        "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}<|user|>"
        "{{ m.content }}{% else %}<|assistant|>{{ m.content.split('</think>')[-1] }}<|end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}",
        "S.<|user|>1+1?<|assistant|><think>\n",
        "add\n</think>\n\nIt is 2.<|end|>",
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_templates_of_other_families_give_prompts_and_traces(own, tmp_path, name):
    text, prompt, completion = FOREIGN[name]
    path = jinja(tmp_path, text)
    tokenizer = tokenizer_at_hand(ModelConfig(source="hf", path=str(own), chat_template=path), download=False)
    e = PromptEncoder(tokenizer, DataConfig(system="S."))
    (trace,) = e.traces([TRACE])
    assert decoded(e, e.prompt_ids(PROBLEM)) == decoded(e, trace.prompt_ids) == prompt
    assert decoded(e, trace.completion_ids) == completion


def test_a_base_model_without_a_template_gets_one(own, tmp_path):
    bare = shutil.copytree(own, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    path = jinja(tmp_path, roles("<|end|>"))
    assert tokenizer_at_hand(ModelConfig(source="hf", path=str(bare), chat_template=path), False).chat_template
    with pytest.raises(ConfigError, match="model.chat_template"):
        tokenizer_at_hand(ModelConfig(source="hf", path=str(bare)), False)


def test_a_models_weights_do_not_depend_on_the_template(own, tmp_path):
    path = jinja(tmp_path, roles("<|endoftext|>"))
    base(tmp_path / "mine", source="hf", path=str(own), chat_template=path)
    assert (tmp_path / "mine/model.safetensors").read_bytes() == (own / "model.safetensors").read_bytes()
    saved = json.loads((tmp_path / "mine/generation_config.json").read_text())
    assert len(saved["eos_token_id"]) == 2


def test_control_tokens_are_found_once_each():
    assert control_tokens(template_text("think")) == ["<|im_start|>", "<|im_end|>"]


def test_a_model_fused_from_checkpoints_of_the_user_has_the_template_of_the_run(own, tmp_path):
    path = jinja(tmp_path, roles("<|endoftext|>"))
    mine = base(tmp_path / "mine", source="hf", path=str(own), chat_template=path)
    fuse({"algebra": own}, [1.0], tmp_path / "fused")
    take_tokenizer(mine, tmp_path / "fused")
    fused = AutoTokenizer.from_pretrained(tmp_path / "fused")
    assert (fused.chat_template, fused.eos_token) == (roles("<|endoftext|>"), "<|endoftext|>")
    assert GenerationConfig.from_pretrained(tmp_path / "fused").eos_token_id[0] == fused.eos_token_id


def test_an_edited_template_is_another_input_of_the_run(tmp_path):
    path = jinja(tmp_path, roles("<|end|>"))
    model = ModelConfig(chat_template=path)
    before = model_files(model)
    assert before == model_files(model) and [*before] == [path]
    jinja(tmp_path, roles("<|endoftext|>"))
    assert model_files(model) != before
    assert model_files(ModelConfig()) == {} and [*model_files(ModelConfig(chat_template="think"))] == ["think"]


# --- another form for a benchmark -------------------------------------------------------------------------------------


def test_a_benchmark_has_its_own_system_message_suffix_and_template(own, tmp_path):
    e = encoder_of(own, math_suffix=" M", system="S.")
    path = jinja(
        tmp_path,
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}[assistant]<think>{% endif %}",
    )
    other = e.with_format(system="T.", suffix=" B", chat_template=path)
    assert decoded(other, other.prompt_ids(PROBLEM)) == "[system]T.<|end|>[user]1+1? B<|end|>[assistant]<think>"
    assert other.prompts([PROBLEM], 1, ("k",))[0].problem.reasoning_open
    assert not e.prompts([PROBLEM], 1, ("k",))[0].problem.reasoning_open
    plain = other.with_format(system="", suffix="")
    assert decoded(plain, plain.prompt_ids(PROBLEM)) == "[user]1+1?<|end|>[assistant]<think>"
    assert e.with_format().prompt_ids(PROBLEM) == e.prompt_ids(PROBLEM)


def test_a_template_with_another_end_than_the_model_is_refused_for_a_benchmark(own, tmp_path):
    path = jinja(tmp_path, roles("<|endoftext|>"))
    with pytest.raises(ConfigError, match=r"stops on <\|end\|>: set model.chat_template="):
        encoder_of(own).with_format(chat_template=path)
    with pytest.raises(ConfigError, match="neither qwen_plain nor think"):
        encoder_of(own).with_format(chat_template="other")


def test_a_rows_own_system_message_replaces_that_of_the_settings(own, tmp_path):
    path = jinja(tmp_path, roles("<|end|>"))
    e = encoder_of(own, system="S.").with_format(chat_template=path)
    mine = Problem("q", "algebra", "math", "1+1?", "2", system="Mine.")
    assert decoded(e, e.prompt_ids(mine)) == "<|system|>Mine.<|end|><|user|>1+1?<|end|><|assistant|>"
    (trace,) = e.traces([TRACE])
    assert decoded(e, trace.prompt_ids) == "<|system|>S.<|end|><|user|>1+1?<|end|><|assistant|>"
    own_trace = Trace((Message("system", "Mine."), Message("user", "1+1?")), "", "2")
    (trace,) = e.traces([own_trace])
    assert decoded(e, trace.prompt_ids) == "<|system|>Mine.<|end|><|user|>1+1?<|end|><|assistant|>"
