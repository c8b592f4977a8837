"""The text of the demo model: a small grammar of everyday Hindi and its English translations.

The grammar is finite (about 4,500 pairs, 190 words a language), so it is listed whole. `held_out`
says which pairs training never sees, in either language: a fixed tenth by hash, and the first 200
draws of `demo_draw`, from which the demo media are made.
"""

import functools
import hashlib
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

Words = tuple[tuple[str, str], ...]

PEOPLE: Words = (
    ("राम", "Ram"), ("सीता", "Sita"), ("मोहन", "Mohan"), ("गीता", "Geeta"),
    ("मेरा भाई", "my brother"), ("मेरी बहन", "my sister"), ("हमारे शिक्षक", "our teacher"),
    ("डॉक्टर", "the doctor"), ("किसान", "the farmer"), ("मेरा दोस्त", "my friend"),
)  # fmt: skip
PLACES: Words = (
    ("बाज़ार", "market"), ("स्कूल", "school"), ("अस्पताल", "hospital"), ("दफ़्तर", "office"),
    ("स्टेशन", "station"), ("गाँव", "village"), ("शहर", "city"), ("बगीचा", "garden"),
    ("मंदिर", "temple"), ("पुस्तकालय", "library"),
)  # fmt: skip
THINGS: Words = (
    ("किताब", "a book"), ("चाय", "tea"), ("पानी", "water"), ("दूध", "milk"), ("रोटी", "bread"),
    ("फल", "fruit"), ("चिट्ठी", "a letter"), ("अख़बार", "a newspaper"), ("कपड़े", "clothes"),
    ("दवा", "medicine"),
)  # fmt: skip
TIMES: Words = (
    ("आज", "today"), ("कल सुबह", "tomorrow morning"), ("शाम को", "in the evening"),
    ("सोमवार को", "on Monday"), ("मंगलवार को", "on Tuesday"), ("शुक्रवार को", "on Friday"),
    ("रविवार को", "on Sunday"), ("अगले हफ़्ते", "next week"),
)  # fmt: skip
NUMBERS: Words = (
    ("एक", "one"), ("दो", "two"), ("तीन", "three"), ("चार", "four"), ("पाँच", "five"),
    ("छह", "six"), ("सात", "seven"), ("आठ", "eight"), ("नौ", "nine"), ("दस", "ten"),
)  # fmt: skip
ADJECTIVES: Words = (
    ("ठंडा", "cold"), ("गरम", "hot"), ("साफ़", "clean"), ("बड़ा", "big"), ("नया", "new"),
    ("पुराना", "old"), ("सुंदर", "beautiful"), ("ख़ाली", "empty"),
)  # fmt: skip

PERSONS: Words = (  # the oblique case of PEOPLE, for के पास, को, की
    ("राम", "Ram"), ("सीता", "Sita"), ("मोहन", "Mohan"), ("गीता", "Geeta"),
    ("मेरे भाई", "my brother"), ("मेरी बहन", "my sister"), ("हमारे शिक्षक", "our teacher"),
    ("डॉक्टर", "the doctor"), ("किसान", "the farmer"), ("मेरे दोस्त", "my friend"),
)  # fmt: skip
SPOTS: Words = (
    ("होटल", "hotel"), ("बैंक", "bank"), ("हवाई अड्डा", "airport"), ("डाकघर", "post office"),
    ("अस्पताल", "hospital"), ("स्टेशन", "station"), ("मंदिर", "temple"), ("स्कूल", "school"),
)  # fmt: skip
WORKPLACES: Words = (
    ("दफ़्तर", "the office"), ("बैंक", "a bank"), ("होटल", "a hotel"), ("अस्पताल", "a hospital"),
    ("स्कूल", "a school"), ("बाज़ार", "the market"), ("गाँव", "a village"), ("शहर", "the city"),
    ("पुस्तकालय", "a library"), ("डाकघर", "a post office"),
)  # fmt: skip
POSSESSIONS: Words = (
    ("किताबें", "books"), ("गाड़ियाँ", "cars"), ("घर", "houses"), ("बच्चे", "children"),
    ("टिकट", "tickets"), ("आम", "mangoes"), ("कुर्सियाँ", "chairs"), ("कलम", "pens"),
)  # fmt: skip
LIKED: Words = (
    ("चाय", "tea"), ("दूध", "milk"), ("कॉफ़ी", "coffee"), ("चावल", "rice"), ("दाल", "lentils"),
    ("मिठाई", "sweets"), ("संगीत", "music"), ("क्रिकेट", "cricket"), ("बारिश", "rain"),
)  # fmt: skip
LANGUAGES: Words = (
    ("हिंदी", "Hindi"), ("अंग्रेज़ी", "English"), ("तमिल", "Tamil"), ("बंगाली", "Bengali"),
    ("मराठी", "Marathi"),
)  # fmt: skip
GOODS: Words = (
    ("टिकट", "ticket"), ("घड़ी", "watch"), ("कमीज़", "shirt"), ("कुर्सी", "chair"), ("कलम", "pen"),
    ("मेज़", "table"), ("किताब", "book"), ("दवा", "medicine"),
)  # fmt: skip
LARGE_NUMBERS: Words = (
    ("बीस", "twenty"), ("तीस", "thirty"), ("चालीस", "forty"), ("पचास", "fifty"),
    ("सौ", "one hundred"), ("पाँच सौ", "five hundred"), ("हज़ार", "one thousand"),
)  # fmt: skip
WEATHER: Words = (("ठंडा", "cold"), ("गरम", "hot"), ("अच्छा", "good"), ("ख़राब", "bad"))
OWNED: Words = (("गाड़ी", "car"), ("घड़ी", "watch"), ("कमीज़", "shirt"), ("किताब", "book"))
COLOURS: Words = (
    ("लाल", "red"), ("नीला", "blue"), ("हरा", "green"), ("काला", "black"), ("सफ़ेद", "white"),
    ("पीला", "yellow"),
)  # fmt: skip
VEHICLES: Words = (("ट्रेन", "train"), ("बस", "bus"))
BUILDINGS: Words = (
    ("दुकान", "shop"), ("बैंक", "bank"), ("होटल", "hotel"), ("घर", "house"), ("बगीचा", "garden"),
)  # fmt: skip
LANDMARKS: Words = tuple(spot for spot in SPOTS if spot[1] != "airport")
SIDES: Words = (("के पास", "near"), ("के पीछे", "behind"), ("के सामने", "in front of"))
NAMES: Words = (
    ("राम", "Ram"), ("सीता", "Sita"), ("मोहन", "Mohan"), ("गीता", "Geeta"), ("अर्जुन", "Arjun"),
    ("प्रिया", "Priya"), ("कबीर", "Kabir"), ("अनीता", "Anita"),
)  # fmt: skip
REQUESTS: Words = (
    ("दरवाज़ा बंद कीजिए", "close the door"), ("दरवाज़ा खोलिए", "open the door"),
    ("खिड़की बंद कीजिए", "close the window"), ("खिड़की खोलिए", "open the window"),
    ("यहाँ बैठिए", "sit here"), ("धीरे बोलिए", "speak slowly"),
    ("मेरा इंतज़ार कीजिए", "wait for me"), ("मुझे फ़ोन कीजिए", "call me"),
    ("मुझे पानी दीजिए", "give me water"), ("मुझे टिकट दीजिए", "give me a ticket"),
)  # fmt: skip
DONE: Words = (
    ("अख़बार पढ़ा", "read the newspaper"), ("अख़बार नहीं पढ़ा", "did not read the newspaper"),
    ("खाना खाया", "ate the food"), ("खाना नहीं खाया", "did not eat the food"),
    ("घर देखा", "saw the house"), ("घर नहीं देखा", "did not see the house"),
    ("काम किया", "did the work"), ("काम नहीं किया", "did not do the work"),
    ("सवाल पूछा", "asked the question"), ("सवाल नहीं पूछा", "did not ask the question"),
    ("जवाब सुना", "heard the answer"), ("जवाब नहीं सुना", "did not hear the answer"),
)  # fmt: skip
PHRASES: Words = (
    ("आप कैसे हैं?", "How are you?"), ("बहुत धन्यवाद।", "Thank you very much."),
    ("मुझे नहीं पता।", "I do not know."), ("आपका नाम क्या है?", "What is your name?"),
    ("फिर मिलेंगे।", "See you again."), ("यह सच नहीं है।", "This is not true."),
    ("मैं ठीक हूँ।", "I am fine."), ("अभी कितने बजे हैं?", "What time is it now?"),
)  # fmt: skip

BASE_PATTERNS = 7
"""The first patterns of `PATTERNS`; the demo media are drawn from these, in this order."""
DEMO_SEED = 20261121
DEMO_DRAWS = 200
HELD_OUT_ONE_IN = 10
SMALLEST_SPLIT_PATTERN = 60
"""Patterns with fewer pairs are heard whole in training: there is nothing new to say in them."""


@dataclass(frozen=True, order=True)
class Pair:
    """A Hindi sentence and its English translation, as they are to be written."""

    hindi: str
    english: str


@dataclass(frozen=True)
class Pattern:
    """A sentence with numbered slots, in both languages, and the words that fill them."""

    hindi: str
    english: str
    slots: tuple[Words, ...]

    def fill(self, words: tuple[tuple[str, str], ...]) -> Pair:
        """Return the pair with one (Hindi, English) word in each slot."""
        hindi = self.hindi.format(*(word[0] for word in words))
        english = self.english.format(*(word[1] for word in words))
        return Pair(hindi, english[0].upper() + english[1:])

    def pairs(self) -> Iterator[Pair]:
        """Yield every pair that the pattern makes, in a fixed order, with no word twice in one."""
        for words in itertools.product(*self.slots):
            if len(set(words)) == len(words):
                yield self.fill(words)


PATTERNS = (
    Pattern("{0} {2} {1} जाएगा।", "{0} will go to the {1} {2}.", (PEOPLE, PLACES, TIMES)),
    Pattern("{0} {2} से {1} लाया।", "{0} brought {1} from the {2}.", (PEOPLE, THINGS, PLACES)),
    Pattern("{1} {0} बजे आएगा।", "{1} will come at {0} o'clock.", (NUMBERS, PEOPLE)),
    Pattern("यह {0} बहुत {1} है।", "This {0} is very {1}.", (PLACES, ADJECTIVES)),
    Pattern("मुझे {1} {0} चाहिए।", "I need {0} {1}.", (THINGS, TIMES)),
    Pattern("{0} यहाँ से {1} किलोमीटर दूर है।", "the {0} is {1} kilometers from here.", (PLACES, NUMBERS)),
    Pattern("क्या {0} {2} {1} ख़रीदेगा?", "Will {0} buy {1} {2}?", (PEOPLE, THINGS, TIMES)),
    Pattern("{0} के पास {1} {2} हैं।", "{0} has {1} {2}.", (PERSONS, NUMBERS[1:], POSSESSIONS)),
    Pattern("{0} को {1} पसंद है।", "{0} likes {1}.", (PERSONS, LIKED)),
    Pattern("{0} को {1} पसंद नहीं है।", "{0} does not like {1}.", (PERSONS, LIKED)),
    Pattern("क्या आप {0} बोलते हैं?", "Do you speak {0}?", (LANGUAGES,)),
    Pattern("मैं {0} नहीं बोलता।", "I do not speak {0}.", (LANGUAGES,)),
    Pattern("{0} कहाँ है?", "Where is the {0}?", (SPOTS + PLACES,)),
    Pattern("मैं {0} में काम करता हूँ।", "I work in {0}.", (WORKPLACES,)),
    Pattern("{0} {1} में काम नहीं करता।", "{0} does not work in {1}.", (PEOPLE, WORKPLACES)),
    Pattern(
        "इस {0} की क़ीमत {1} रुपये है।",
        "The price of this {0} is {1} rupees.",
        (GOODS, LARGE_NUMBERS + NUMBERS[4:]),
    ),
    Pattern("{0} मौसम {1} रहेगा।", "The weather will be {1} {0}.", (TIMES, WEATHER)),
    Pattern("{0} बारिश नहीं होगी।", "It will not rain {0}.", (TIMES,)),
    Pattern("क्या {0} बारिश होगी?", "Will it rain {0}?", (TIMES,)),
    Pattern("मेरी {0} का रंग {1} है।", "My {0} is {1}.", (OWNED, COLOURS)),
    Pattern(
        "{0} {1} मिनट देर से आएगी।",
        "The {0} will be {1} minutes late.",
        (VEHICLES, NUMBERS[1:] + LARGE_NUMBERS[:4]),
    ),
    Pattern("{0} {1} {2} है।", "The {2} is {1} the {0}.", (LANDMARKS, SIDES, BUILDINGS)),
    Pattern("कृपया {0}।", "Please {0}.", (REQUESTS,)),
    Pattern("मैंने {0}।", "I {0}.", (DONE,)),
    Pattern("मेरा नाम {0} है।", "My name is {0}.", (NAMES,)),
    Pattern("{0} की उम्र {1} साल है।", "{0} is {1} years old.", (PERSONS, NUMBERS[2:] + LARGE_NUMBERS[:4])),
    Pattern("{0} आज {1} में नहीं है।", "{0} is not in the {1} today.", (PEOPLE, LANDMARKS)),
    Pattern("{0}", "{0}", (PHRASES,)),
)


def demo_draw(seed: int) -> Pair:
    """Return the pair that one seed draws from the base patterns: demo media speak these."""
    rng = random.Random(seed)
    pattern = PATTERNS[rng.randrange(BASE_PATTERNS)]
    return pattern.fill(tuple(rng.choice(slot) for slot in pattern.slots))


@functools.cache
def _demo_sentences() -> tuple[frozenset[str], frozenset[str]]:
    """Return the (Hindi, English) sentences kept for the demo media."""
    pairs = [demo_draw(DEMO_SEED + draw) for draw in range(DEMO_DRAWS)]
    return frozenset(p.hindi for p in pairs), frozenset(p.english for p in pairs)


def held_out(pair: Pair) -> bool:
    """Return whether training never sees the pair, in neither language."""
    hindi, english = _demo_sentences()
    if pair.hindi in hindi or pair.english in english:
        return True
    digest = hashlib.sha256(pair.english.encode()).digest()
    return int.from_bytes(digest[:4], "big") % HELD_OUT_ONE_IN == 0


@functools.cache
def base_sentences() -> frozenset[str]:
    """Return every sentence of the base patterns, in both languages."""
    pairs = [pair for pattern in PATTERNS[:BASE_PATTERNS] for pair in pattern.pairs()]
    return frozenset(text for pair in pairs for text in (pair.hindi, pair.english))


@functools.cache
def split() -> tuple[tuple[tuple[Pair, ...], ...], tuple[Pair, ...]]:
    """Return (training pairs by pattern, all held-out pairs), each in a fixed order."""
    training, kept = [], []
    for pattern in PATTERNS:
        pairs = list(pattern.pairs())
        whole = len(pairs) < SMALLEST_SPLIT_PATTERN
        training.append(tuple(p for p in pairs if whole or not held_out(p)))
        kept.extend(p for p in pairs if not whole and held_out(p))
    return tuple(training), tuple(kept)


def draw_training_pair(rng: random.Random) -> Pair:
    """Draw a pair that training may see; patterns weigh as the square root of their size."""
    training, _ = split()
    weights = [len(pairs) ** 0.5 for pairs in training]
    return rng.choice(rng.choices(training, weights)[0])


def all_sentences() -> list[str]:
    """Return every sentence that training may see, Hindi and English, in a fixed order."""
    training, _ = split()
    return [text for pairs in training for pair in pairs for text in (pair.hindi, pair.english)]
