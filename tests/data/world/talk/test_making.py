import re
from dataclasses import replace

import numpy as np
import pytest

from sensorium.clauses import clauses
from sensorium.data.world.talk import LANGUAGES, Seen, Spoken, lexicon, make_talk, places
from sensorium.data.world.talk.captions import scene_facts
from sensorium.data.world.things import COLOURS


def drawn(kind, language, split="train", n=300):
    return [make_talk(kind, np.random.default_rng([12, i]), language=language, split=split) for i in range(n)]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_what_is_drawn_is_what_was_asked_for(language, split):
    for talk in drawn("draw", language, split):
        (request,), (_, picture) = (turn.parts for turn in talk.turns[-2:])
        text = request.text if isinstance(request, Spoken) else request
        assert (
            lexicon.attributes(text, language) == lexicon.truth(scene_facts(picture.scene)) == lexicon.truth(talk.facts)
        )


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", ["draw", "edit"])
def test_some_pictures_follow_others_in_one_talk(kind, language):
    longer = [talk for talk in drawn(kind, language) if len(talk.turns) > 2]
    assert 15 < len(longer) < 150
    for talk in longer:
        (request,), (sketch, picture) = (turn.parts for turn in talk.turns[:2])
        assert [turn.role for turn in talk.turns] == ["user", "assistant"] * 2
        assert sketch == places.sketch(picture.scene, language)
        assert lexicon.attributes(request, language) == lexicon.truth(scene_facts(picture.scene))
        if kind == "edit":
            assert scene_facts(picture.scene) == talk.facts["before"]


def shown_before(talk):
    """The last scene that was shown, by either side, before the answer."""
    return [part.scene for turn in talk.turns[:-1] for part in turn.parts if isinstance(part, Seen)][-1]


def bins(box):
    return tuple(int(edge * places.BINS) for edge in box)


def boxes_in(sketch):
    """The kinds and boxes that a sketch names; the colour and texture stand before the kind."""
    return [(name, bins(edges)) for name, *edges in places.read_boxes(sketch)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sketch_names_every_thing_where_it_will_stand_and_the_sky(language):
    textured = set()
    for talk in drawn("caption", language):
        (scene,) = (part.scene for part in talk.turns[0].parts if isinstance(part, Seen))
        sketch = places.sketch(scene, language)
        named = boxes_in(sketch)
        order = [pair[1:] for pair in lexicon.contents(scene)]
        things = sorted(scene.things, key=lambda thing: (order.index((thing.colour, thing.kind)), thing.box))
        assert [box for _, box in named] == [bins(thing.box) for thing in things]
        for (name, _), thing in zip(named, things, strict=True):
            assert name.endswith(lexicon.coloured(thing.colour, thing.kind, language))
            for texture in ("striped", "dotted"):
                assert (lexicon.texture_word(texture, language) in name) == (thing.texture == texture)
            textured.add(thing.texture)
        assert lexicon.background_word(scene.background, language) in sketch
        sky = {name for name in lexicon.attributes(sketch, language) if ":" in name}
        assert sky == {name for name in lexicon.truth(talk.facts) if ":" in name}
    assert textured == {"plain", "striped", "dotted"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_drawn_is_what_was_sketched(language):
    for talk in drawn("draw", language, n=100):
        sketch, picture = talk.turns[-1].parts
        assert sketch == places.sketch(picture.scene, language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_sketch_of_an_edit_names_what_stays_and_last_what_changes(language):
    gone = "no " if language == "en" else "没有"
    for talk in drawn("edit", language, n=150):
        before = shown_before(talk)
        sketch, picture = talk.turns[-1].parts
        left, new = set(before.things) - set(picture.scene.things), set(picture.scene.things) - set(before.things)
        changed = next(iter(new or left), None)
        if changed is None:
            assert sketch == places.sketch(picture.scene, language)
            continue
        stays = set(before.things) & set(picture.scene.things)
        *others, (name, box) = boxes_in(sketch)
        assert sorted(box for _, box in others) == sorted(bins(thing.box) for thing in stays)
        assert sketch.startswith(places.sketch(replace(picture.scene, things=tuple(stays)), language))
        assert box == bins(changed.box)
        assert name.endswith(lexicon.coloured(changed.colour, changed.kind, language))
        assert name.startswith(gone) == (not new)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_variation_shows_the_same_drawn_anew(split):
    moved = 0
    for talk in drawn("vary", "zh", split, n=100):
        before = shown_before(talk)
        sketch, picture = talk.turns[-1].parts
        assert scene_facts(before) == scene_facts(picture.scene) == dict(talk.facts)
        assert sketch == places.sketch(picture.scene, "zh")
        assert before.seed != picture.scene.seed
        assert all(thing.texture == "plain" for thing in picture.scene.things)
        moved += before.things != picture.scene.things
    assert moved > 50


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_edit_changes_what_it_says_and_nothing_else(split):
    sorts = set()
    for talk in drawn("edit", "en", split):
        before = shown_before(talk)
        after = talk.turns[-1].parts[1].scene
        assert scene_facts(before) == talk.facts["before"]
        assert scene_facts(after) == {name: talk.facts[name] for name in ("things", "weather", "time")}
        kept = set(before.things) & set(after.things)
        changes = (len(before.things) - len(kept), len(after.things) - len(kept))
        sort = talk.facts["edit"]
        assert changes == {"colour": (1, 1), "remove": (1, 0), "add": (0, 1), "sky": (0, 0)}[sort]
        assert ((before.weather, before.time) != (after.weather, after.time)) == (sort == "sky")
        assert (before.seed, before.background) == (after.seed, after.background)
        sorts.add(sort)
    assert sorts == {"colour", "remove", "add", "sky"}


COLOUR_WORDS = {language: [lexicon.colour_word(colour, language) for colour in COLOURS] for language in LANGUAGES}


def names_a_colour(text, language):
    return any(re.search(rf"(?<![a-z]){word}(?![a-z])", text) for word in COLOUR_WORDS[language])


def words_of(turn):
    return " ".join(part if isinstance(part, str) else part.text for part in turn.parts if not isinstance(part, Seen))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_colours_may_be_left_open_and_the_sketch_settles_them(language, split):
    skies = set()
    for talk in drawn("draw_freely", language, split):
        text, (sketch, picture) = words_of(talk.turns[-2]), talk.turns[-1].parts
        assert not names_a_colour(text, language)
        assert lexicon.truth(talk.facts) == lexicon.truth(scene_facts(picture.scene))
        kinds = [kind for _, _, kind in talk.facts["things"]]
        assert kinds
        assert len(set(kinds)) == len(kinds)
        for count, _, kind in talk.facts["things"]:
            assert lexicon.counted(count, "", kind, language) in text
        assert names_a_colour(sketch, language)
        assert {name for name in lexicon.attributes(text, language) if ":" in name} == {
            name for name in lexicon.truth(talk.facts) if ":" in name
        }
        skies.add(talk.facts["weather"] is None)
    assert skies == {True, False}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_free_change_names_what_it_means_and_leaves_the_rest_open(language, split):
    sorts, gone, others = set(), set(), set()
    for talk in drawn("edit_freely", language, split):
        text = words_of(talk.turns[-2])
        before, after = shown_before(talk), talk.turns[-1].parts[1].scene
        left, new = set(before.things) - set(after.things), set(after.things) - set(before.things)
        sorts.add(talk.facts["edit"])
        if talk.facts["edit"] == "add":
            ((added,), ()) = new, left
            assert not names_a_colour(text, language)
            assert lexicon.counted(1, "", added.kind, language) in text
            assert lexicon.coloured(added.colour, added.kind, language) in talk.turns[-1].parts[0]
            continue
        (pair,) = {(thing.colour, thing.kind) for thing in left}
        alike = sorted((each for each in before.things if (each.colour, each.kind) == pair), key=lambda each: each.box)
        assert lexicon.coloured(*pair, language, 1 if len(left) == 1 else 2) in text
        others.add((talk.facts["edit"], any(each.kind == pair[1] and each not in alike for each in before.things)))
        if talk.facts["edit"] == "colour":
            ((old,), (painted,)) = left, new
            assert painted == replace(old, colour=painted.colour)
            assert lexicon.colour_word(painted.colour, language) in text
        if talk.facts["edit"] == "remove":
            assert after.things
            assert not new
            assert left == set(alike[-len(left) :])  # the rightmost, or all
            assert len(left) in (1, len(alike))
            one = "one" if language == "en" else lexicon.counted(1, *pair, language)
            assert (one in text) == (len(left) < len(alike))
            gone.add((len(left), len(alike)))
    assert sorts == {"colour", "remove", "add"}
    assert gone >= {(1, 1), (1, 2), (2, 2)}
    assert split != "train" or others == {("colour", True), ("remove", True), ("remove", False)}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_sky_may_change_its_weather_or_its_time_alone(language, split):
    changed = {"weather": 0, "time": 0, "both": 0}
    for talk in drawn("edit", language, split, n=600):
        if talk.facts["edit"] != "sky":
            continue
        request = talk.turns[-2].text
        said = {name.partition(":")[0]: name for name in lexicon.attributes(request, language)}
        before, after = talk.facts["before"], talk.facts
        assert {f"{name}:{after[name]}" for name in said} == set(said.values())
        for name in {"weather", "time"} - set(said):  # of which nothing was said
            assert before[name] == after[name]
        changed[min(said) if len(said) == 1 else "both"] += 1
    assert min(changed.values()) > 10


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_what_it_drew_can_be_talked_about(language, split):
    described = 0
    for talk in drawn("discuss", language, split, n=100):
        (request,), (sketch, picture) = (turn.parts for turn in talk.turns[:2])
        assert lexicon.attributes(request, language) == lexicon.truth(scene_facts(picture.scene))
        assert sketch == places.sketch(picture.scene, language)
        assert [turn.text for turn in talk.turns[3::2]] == talk.facts["answers"]
        assert len(talk.facts["questions"]) == len(talk.facts["answers"]) >= 1
        described += talk.facts["questions"].count("caption")
        for sort, answer in zip(talk.facts["questions"], talk.facts["answers"], strict=True):
            assert sort != "caption" or lexicon.attributes(answer, language) == lexicon.truth(talk.facts)
        assert not any(isinstance(part, Seen) for turn in talk.turns[2:] for part in turn.parts)
    assert 30 < described < 70


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_what_is_recited_is_what_was_asked_for(language, split):
    for talk in drawn("recite", language, split):
        (request,), (text, said) = (turn.parts for turn in talk.turns)
        assert text == said.text == talk.facts["transcript"]
        assert text in request
        assert (said.language, said.voice, said.own) == (language, None, False)


@pytest.mark.parametrize("language", LANGUAGES)
def test_spoken_replies_say_what_they_write_clause_by_clause(language):
    counts = set()
    for talk in drawn("speak", language):
        parts = talk.turns[-1].parts
        written, said = parts[::2], parts[1::2]
        assert len(written) == len(said)
        assert list(written) == clauses(talk.facts["transcript"])
        assert [words.strip() for words in written] == [sound.text for sound in said]
        assert {sound.language for sound in said} == {language}
        assert len({sound.voice for sound in said}) == 1  # one person answers
        counts.add(len(said))
    assert max(counts) > 1
