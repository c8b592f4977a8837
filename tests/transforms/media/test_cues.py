"""The rules for cues, on values: how much of the text, broken where, from when to when."""

from __future__ import annotations

import itertools
import random
import time

import pytest
import regex

from transforms.media.cues import LINE_COLUMNS, Cue, columns, cut_cues
from transforms.records import Segment

HINDI = "हमारे शिक्षक शाम को स्टेशन जाएँगे और रास्ते में बाज़ार से कपड़े, किताबें और अख़बार भी ख़रीदेंगे।"
FAMILY = "👨‍👩‍👧‍👦"  # one person's emoji and three more, joined
THAI = "ภาษาไทยไม่มีช่องว่างระหว่างคำดังนั้นการตัดบรรทัดจึงทำได้ยากมากสำหรับโปรแกรมคอมพิวเตอร์"


def said(text, start=0.0, end=5.0, language="hi"):
    return Segment(start, end, text, language)


def lines(text, seconds=5.0, language="hi"):
    """The lines of each cue."""
    return [cue.lines for cue in cut_cues([said(text, 0, seconds, language)])]


def times(*segments, duration_s=None):
    return [(cue.start_ms, cue.end_ms) for cue in cut_cues(segments, duration_s)]


def letters(text):
    return "".join(text.split())


# 1. Two lines of 42 characters, as a reader counts them.


@pytest.mark.parametrize(
    ("text", "clusters"),
    [
        ("क्ष", 1),
        ("स्त्री", 1),
        ("क्‍ष", 1),  # a joiner behind the virama
        ("ख़रीदेंगे", 4),  # with a nukta
        ("ज़", 1),  # the nukta as a character of its own
        ("e\u0301a\u0308\u0323", 2),
        (FAMILY, 2.625),
        ("🇮🇳🇮🇳", 2),
        ("日本", 2 * 2.625),
        ("ＡＢ", 2 * 2.625),
        ("한국", 2 * 2.625),
        ("ｱﾊﾟ", 2),  # half-width
        ("नमस्ते, दुनिया!", 9),
        ("ไม่มี", 3),
    ],
)
def test_a_character_is_a_grapheme_cluster_and_a_wide_one_takes_more(text, clusters):
    assert columns(text) == clusters


@pytest.mark.parametrize("character", ["x", "क्ष", "ज़", "e\u0301", "ज़्ज़ि"])
def test_a_line_holds_42_characters_and_no_more(character):
    full = " ".join([character * 20, character * 21])
    assert lines(full) == [(full,)]
    assert lines(f"{full}{character}") == [(character * 20, character * 22)]


@pytest.mark.parametrize("character", ["字", "한", FAMILY])
def test_a_line_holds_sixteen_wide_characters_and_no_more(character):
    assert lines(character * 16) == [(character * 16,)]
    assert [len(cue) for cue in lines(character * 17)] == [2]
    assert [len(cue) for cue in lines(character * 33)] == [1, 2]


def test_text_beyond_two_lines_goes_into_the_next_cue():
    two = f"{'x' * 41}. {'y' * 41}."
    assert lines(two) == [(f"{'x' * 41}.", f"{'y' * 41}.")]
    assert [len(cue) for cue in lines(f"{two} z")] == [1, 2]


# 2. Times that can be read.


def test_a_cue_is_lengthened_to_a_second_into_the_pause_behind_it_and_not_beyond():
    assert times(said("हाँ", 1, 1.2), said("नहीं", 5, 6)) == [(1000, 2000), (5000, 6000)]
    assert times(said("हाँ", 0, 0.2), said("नहीं", 0.7, 2)) == [(0, 700), (700, 2000)]


def test_a_cue_without_room_behind_begins_in_the_pause_before():
    assert times(said("एक", 0, 1), said("हाँ", 2, 2.2), said("नहीं", 2.5, 4)) == [
        (0, 1000),
        (1500, 2500),
        (2500, 4000),
    ]
    assert times(said("एक", 0, 1.8), said("हाँ", 2, 2.2), said("नहीं", 2.5, 4))[1] == (1800, 2500)


def test_no_cue_outlasts_the_media():
    assert times(said("हाँ", 9.8, 9.9)) == [(9800, 10_800)]
    assert times(said("हाँ", 9.8, 9.9), duration_s=10) == [(9000, 10_000)]
    assert times(said("एक", 8, 11), said("दो", 12, 13), duration_s=10) == [(8000, 9000), (9000, 10_000)]
    assert times(said("हाँ", 9.8, 9.9), duration_s=0) == [(9800, 10_800)]  # not known


def test_a_fast_speaker_is_shown_for_a_twentieth_of_a_second_a_character_where_there_is_room():
    text = "x" * 20 + " " + "y" * 19  # 40 characters: 2 s
    assert times(said(text, 1, 2)) == [(1000, 3000)]
    assert times(said(text, 1, 2), said("z", 2.5, 4)) == [(1000, 2500), (2500, 4000)]
    assert times(said(text, 1, 4)) == [(1000, 4000)]  # slow enough


def test_a_cue_ends_after_seven_seconds():
    assert times(said("नमस्ते", 1, 31)) == [(1000, 8000)]
    assert cut_cues([said("one two three, four five six seven.", 0, 20)]) == [
        Cue(0, 7000, ("one two three,",)),
        Cue(10_000, 17_000, ("four five six seven.",)),
    ]


# 3. Long segments are cut at clauses, and their time is shared by their characters.


@pytest.mark.parametrize("mark", ["।", "॥", ".", "?", "!", ";", ":", ",", "…", "؟", "۔", "،", '."', "!)", "।”"])
def test_a_long_segment_is_cut_behind_a_clause_rather_than_in_its_middle(mark):
    first = f"{'कम ' * 15}कख{mark}"
    second = f"{'गप ' * 25}चख"
    assert [" ".join(cue) for cue in lines(f"{first} {second}", 6)] == [first, second]


@pytest.mark.parametrize("mark", "。！？、，；：")
def test_a_long_segment_without_spaces_is_cut_behind_a_clause(mark):
    first, second = f"{'字' * 13}{mark}", "文" * 22
    assert ["".join(cue) for cue in lines(first + second, 7, "ja")] == [first, second]


def test_a_sentence_ends_a_cue_rather_than_a_comma():
    first, second = "One two three, four five six seven eight nine.", "Ten eleven, twelve thirteen fourteen fifteen."
    assert [" ".join(cue) for cue in lines(f"{first} {second}", 6)] == [first, second]


def test_without_clauses_a_segment_is_cut_at_spaces_in_even_pieces():
    assert [[len(line) for line in cue] for cue in lines(" ".join(["abcd"] * 32), 6)] == [
        [29, 24],
        [29, 24],
        [24, 24],
    ]


def test_the_time_of_a_segment_is_shared_by_the_characters():
    cues = cut_cues([said(f"{'x' * 39}. {'y' * 29}. {'z' * 19}.", 10, 19)])
    assert [(cue.start_ms, cue.end_ms, sum(map(columns, cue.lines))) for cue in cues] == [
        (10_000, 14_000, 40),
        (14_000, 19_000, 50),
    ]
    even = times(said(" ".join(["क्ष्म" * 40] * 3), 0.001, 6.002))
    assert [start for start, _ in even[1:]] == [end for _, end in even[:-1]]
    assert even[-1][1] == 6002


ALPHABETS = [
    "a b c. d, e! f",
    "क ख ग् ष ि ा ं ़ । , क्ष त्र ज्ञ श्र ़",
    "字文日。、「」（）！？ーっ々A1 ",
    "กขเแไ ำ ิ ่ ๆ ฯ ",
    "ខ្មែរ ្ក ា ំ ",
    "한국어 ",
    "اب، ג ! GPS 12 ",
    "👍🏽 👨‍👩‍👧 🇮🇳 ❤️ \u200d\ufe0f\u0301",
    "- – — “ ” « » \u00a0\u202f 5 % ₹ \u200b\u2060\u0600",
]


def random_texts(count):
    source = random.Random(7)
    for _ in range(count):
        alphabet = source.choice([*ALPHABETS, "".join(ALPHABETS)])
        yield "".join(source.choices(alphabet, k=source.choice([3, 40, 90, 200, 500])))


def test_no_letter_of_random_texts_is_lost_and_no_cluster_broken():
    tried = 0
    for text in random_texts(300):
        clean = " ".join(regex.split(r"\s{2,}|[\s--[\u00a0\u202f]]", text, flags=regex.V1)).strip()
        cues = cut_cues([said(text, 1, 9)])
        shown = [line for cue in cues for line in cue.lines]
        assert letters("".join(shown)) == letters(text)
        edges = {match.start() for match in regex.finditer(r"\X", clean)} | {len(clean)}
        place = 0
        for line in shown:
            assert line == line.strip() and line
            assert columns(line) <= LINE_COLUMNS
            place = clean.index(line, place)
            assert place in edges
            place += len(line)
            assert place in edges
            tried += 1
        assert all(len(cue.lines) <= 2 for cue in cues)
    assert tried > 800


def test_no_word_of_random_texts_is_broken_where_words_fit_into_a_line():
    source = random.Random(8)
    words = [word for word in f"{HINDI} I think, so: “it” is - (well-known) 3.5 % अं।".split() if columns(word) < 20]
    for _ in range(100):
        text = source.choices(words, k=source.randint(1, 80))
        cues = cut_cues([said("  ".join(text), 1, 30)])
        assert [word for cue in cues for line in cue.lines for word in line.split()] == text


def test_random_segments_give_cues_in_order_that_never_overlap():
    source = random.Random(9)
    for number in range(100):
        segments = []
        for _ in range(source.randint(1, 30)):
            start = source.choice([5.0, source.uniform(0, 60)])
            text = " ".join(source.choices(HINDI.split(), k=source.choice([1, 5, 30])))
            segments.append(said(text, start, start + source.choice([-1, 0, 0.1, 3, 12])))
        cues = cut_cues(segments, source.choice([None, 60.0]))
        assert all(cue.start_ms < cue.end_ms <= cue.start_ms + 7000 for cue in cues), number
        assert all(one.end_ms <= two.start_ms for one, two in itertools.pairwise(cues)), number
        in_order = sorted(segments, key=lambda segment: round(segment.start * 1000))
        assert [w for cue in cues for line in cue.lines for w in line.split()] == [
            word for segment in in_order for word in segment.text.split()
        ]


# 4. Lines: even, at clauses, whole words, and what may not begin or end one.


def test_lines_are_even_and_break_behind_a_clause_where_one_is_near():
    assert lines("I think that we should go home now because it is late.") == [
        ("I think that we should go", "home now because it is late.")
    ]
    assert lines("I think we should go home, because it is very late now.") == [
        ("I think we should go home,", "because it is very late now.")
    ]
    assert lines("Well, I think we should go home because it is late.") == [
        ("Well, I think we should go", "home because it is late.")
    ]


def test_a_word_longer_than_a_line_is_broken_between_clusters():
    assert lines("x" * 60) == [("x" * 30, "x" * 30)]
    assert lines("see " + "क्षि" * 60) == [("see " + "क्षि" * 28, "क्षि" * 32)]
    assert lines("well-known " * 4 + "x") == [("well-known well-known", "well-known well-known x")]


def test_chinese_and_japanese_lines_begin_with_no_closing_mark_and_end_with_no_opening_one():
    source = random.Random(10)
    for _ in range(100):
        parts = [
            source.choice(["「字字」", "（文）", "字", "文文", "っー", "。", "、", "！", "々", "『語』"])
            for _ in range(60)
        ]
        text = "字" + "".join(parts)
        shown = [line for cue in lines(text, 20, "ja") for line in cue]
        assert len(shown) > 3
        if not regex.search(r"[。、！」』）っー々]{14}|[「『（]{14}", text):
            assert not [line for line in shown if line[0] in "。、！」』）っー々" or line[-1] in "「『（"]


def test_a_line_does_not_begin_with_a_mark_that_stands_behind_a_space():
    text = "मोहन बाज़ार से पानी और किताबें भी लाया था । फिर वह शाम को घर गया था ।"
    assert [line[0] for cue in lines(text) for line in cue] == ["म", "फ"]
    assert lines("Bonjour mes amis, comment allez-vous donc\u00a0?") == [
        ("Bonjour mes amis,", "comment allez-vous donc\u00a0?")
    ]


def test_thai_breaks_between_clusters_and_behind_no_leading_vowel():
    shown = [line for cue in lines(THAI, 7, "th") for line in cue]
    assert "".join(shown) == THAI
    assert [columns(line) for line in shown] == [34, 34]
    for cut in range(1, 60):  # wherever the balanced place falls
        assert not [line for cue in lines(THAI[cut:], 7, "th") for line in cue[:-1] if line[-1] in "เแโใไ"]


def test_a_zero_width_space_is_a_place_to_break():
    assert lines("ខ្មែរ" * 5 + "\u200b" + "ខ្មែរ" * 16) == [("ខ្មែរ" * 5 + "\u200b", "ខ្មែរ" * 16)]


# 5. Right to left: kept as spoken, and known as such.


@pytest.mark.parametrize(
    ("text", "language", "rtl"),
    [
        ("مرحبا بكم!", "ar", True),
        ("שלום לכולם.", "he", True),
        ("میرا نام علی ہے۔", "ur", True),
        ("GPS هو نظام.", "ar", True),  # by its language
        ("iPhone 15 Pro Max متاح", "ar-EG", True),
        ("GPS هو نظام ملاحة.", "", True),  # by most of its letters
        ("سلمان ने कहा कि वह आएगा", "hi", False),
        ("मेरा नाम अली है।", "ur", False),
        ("Only English here.", "ar", False),
        ("١٩٨٤", "ar", False),  # digits have no direction of their own
    ],
)
def test_text_is_right_to_left_by_its_language_or_its_letters(text, language, rtl):
    assert cut_cues([said(text, language=language)]) == [Cue(0, 5000, (text,), rtl)]


# 7. What models give that is no proper segment.


def test_segments_without_text_give_no_cue():
    assert cut_cues([]) == []
    assert cut_cues([said(""), said(" \t\n\u00a0\u3000\x0b"), said("\ufeff\x00")]) == []


def test_segments_of_no_length_or_a_negative_one_are_shown_for_a_second():
    assert times(said("एक", 2, 2), said("दो", 7, 5)) == [(2000, 3000), (7000, 8000)]
    assert times(said("एक", -3, 2)) == [(0, 2000)]


def test_segments_in_no_order_come_in_the_order_of_time():
    assert [cue.lines[0] for cue in cut_cues([said("b", 5, 6), said("a", 1, 2), said("c", 5.5, 9)])] == [
        "a",
        "b",
        "c",
    ]


def test_segments_of_one_beginning_share_the_time_in_their_order():
    assert cut_cues([said("एक", 1, 2), said("दो", 1, 5)]) == [Cue(1000, 3000, ("एक",)), Cue(3000, 5000, ("दो",))]
    assert times(said("एक", 0, 4), said("दो", 4, 4), duration_s=4) == [(0, 2000), (2000, 4000)]


def test_an_overlap_is_trimmed_where_it_is_small_and_shared_where_it_is_large():
    assert times(said("एक", 0, 3.2), said("दो", 3, 5)) == [(0, 3000), (3000, 5000)]
    assert times(said("x" * 40, 0, 10), said("y" * 20, 2, 4)) == [(0, 6667), (6667, 10_000)]


def test_segments_that_leave_no_time_at_all_still_come_one_after_the_other():
    cues = cut_cues([said(f"{number}.", 1, 1) for number in range(2000)], duration_s=2)
    assert [cue.lines[0] for cue in cues] == [f"{number}." for number in range(2000)]
    assert all(cue.start_ms < cue.end_ms for cue in cues)
    assert all(one.end_ms <= two.start_ms for one, two in itertools.pairwise(cues))


@pytest.mark.parametrize(
    "segments",
    [
        [said(HINDI, number * 6, number * 6 + 5.5) for number in range(2000)],
        [said(HINDI * 400, 0, 3600)],
        [said("x" * 40_000, 0, 60)],
        [said("ไ" * 2000, 0, 60), said("\u0301" * 20_000, 60, 61), said("👨‍" * 5000, 61, 90)],
    ],
    ids=["many segments", "a long segment", "a long word", "odd words"],
)
def test_the_time_to_cut_grows_with_the_text_only(segments):
    began = time.process_time()
    assert cut_cues(segments)
    # some 0.1 s; what grows with the square of the text takes minutes
    assert time.process_time() - began < 5
