"""Languages as people and other tools write them, and the codes that models know them by."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterator

import langcodes

# Whisper's codes and its names for them, then other names: other English ones, and the language's own.
NAMES: dict[str, tuple[str, ...]] = {
    "af": ("afrikaans",),
    "am": ("amharic", "አማርኛ"),
    "ar": ("arabic", "العربية", "عربي"),
    "as": ("assamese", "অসমীয়া"),
    "az": ("azerbaijani", "azərbaycanca"),
    "ba": ("bashkir", "башҡортса"),
    "be": ("belarusian", "беларуская"),
    "bg": ("bulgarian", "български"),
    "bn": ("bengali", "bangla", "বাংলা"),
    "bo": ("tibetan", "བོད་སྐད་"),
    "br": ("breton", "brezhoneg"),
    "bs": ("bosnian", "bosanski"),
    "ca": ("catalan", "valencian", "català"),
    "cs": ("czech", "čeština"),
    "cy": ("welsh", "cymraeg"),
    "da": ("danish", "dansk"),
    "de": ("german", "deutsch"),
    "el": ("greek", "ελληνικά"),
    "en": ("english",),
    "es": ("spanish", "castilian", "español"),
    "et": ("estonian", "eesti"),
    "eu": ("basque", "euskara"),
    "fa": ("persian", "farsi", "فارسی"),
    "fi": ("finnish", "suomi"),
    "fo": ("faroese", "føroyskt"),
    "fr": ("french", "français"),
    "gl": ("galician", "galego"),
    "gu": ("gujarati", "ગુજરાતી"),
    "ha": ("hausa",),
    "haw": ("hawaiian", "ʻōlelo hawaiʻi"),
    "he": ("hebrew", "עברית"),
    "hi": ("hindi", "हिन्दी", "हिंदी"),
    "hr": ("croatian", "hrvatski"),
    "ht": ("haitian creole", "haitian", "kreyòl ayisyen"),
    "hu": ("hungarian", "magyar"),
    "hy": ("armenian", "հայերեն"),
    "id": ("indonesian", "bahasa indonesia"),
    "is": ("icelandic", "íslenska"),
    "it": ("italian", "italiano"),
    "ja": ("japanese", "日本語"),
    "jw": ("javanese", "basa jawa"),
    "ka": ("georgian", "ქართული"),
    "kk": ("kazakh", "қазақша"),
    "km": ("khmer", "ខ្មែរ"),
    "kn": ("kannada", "ಕನ್ನಡ"),
    "ko": ("korean", "한국어"),
    "la": ("latin", "latina"),
    "lb": ("luxembourgish", "letzeburgesch", "lëtzebuergesch"),
    "ln": ("lingala", "lingála"),
    "lo": ("lao", "ລາວ"),
    "lt": ("lithuanian", "lietuvių"),
    "lv": ("latvian", "latviešu"),
    "mg": ("malagasy",),
    "mi": ("maori", "māori"),
    "mk": ("macedonian", "македонски"),
    "ml": ("malayalam", "മലയാളം"),
    "mn": ("mongolian", "монгол"),
    "mr": ("marathi", "मराठी"),
    "ms": ("malay", "bahasa melayu"),
    "mt": ("maltese", "malti"),
    "my": ("myanmar", "burmese", "မြန်မာ"),
    "ne": ("nepali", "नेपाली"),
    "nl": ("dutch", "flemish", "nederlands"),
    "nn": ("nynorsk", "norwegian nynorsk", "norsk nynorsk"),
    "no": ("norwegian", "norwegian bokmål", "bokmål", "norsk", "norsk bokmål"),
    "oc": ("occitan",),
    "pa": ("punjabi", "panjabi", "ਪੰਜਾਬੀ"),
    "pl": ("polish", "polski"),
    "ps": ("pashto", "pushto", "پښتو"),
    "pt": ("portuguese", "português"),
    "ro": ("romanian", "moldavian", "moldovan", "română"),
    "ru": ("russian", "русский"),
    "sa": ("sanskrit", "संस्कृतम्"),
    "sd": ("sindhi", "سنڌي"),
    "si": ("sinhala", "sinhalese", "සිංහල"),
    "sk": ("slovak", "slovenčina"),
    "sl": ("slovenian", "slovene", "slovenščina"),
    "sn": ("shona",),
    "so": ("somali", "soomaali"),
    "sq": ("albanian", "shqip"),
    "sr": ("serbian", "српски", "srpski"),
    "su": ("sundanese", "basa sunda"),
    "sv": ("swedish", "svenska"),
    "sw": ("swahili", "kiswahili"),
    "ta": ("tamil", "தமிழ்"),
    "te": ("telugu", "తెలుగు"),
    "tg": ("tajik", "тоҷикӣ"),
    "th": ("thai", "ไทย"),
    "tk": ("turkmen", "türkmençe"),
    "tl": ("tagalog", "filipino"),
    "tr": ("turkish", "türkçe"),
    "tt": ("tatar", "татарча"),
    "uk": ("ukrainian", "українська"),
    "ur": ("urdu", "اردو"),
    "uz": ("uzbek", "oʻzbekcha", "o'zbekcha"),
    "vi": ("vietnamese", "tiếng việt"),
    "yi": ("yiddish", "ייִדיש"),
    "yo": ("yoruba", "yorùbá"),
    "yue": ("cantonese", "粵語", "粤语", "廣東話"),
    "zh": ("chinese", "mandarin", "中文", "普通话"),
}
WHISPER = frozenset(NAMES)
TO_BE_FOUND = frozenset(["", "auto", "und", "mul"])  # how people and ISO 639 say that nobody has said
OF_WHISPER = {"jv": "jw", "fil": "tl", "nb": "no"}  # standard code → the one that Whisper has for it


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip().casefold()


_codes = {_folded(name): code for code, names in NAMES.items() for name in names}


def known_code(text: str, known: frozenset[str] = WHISPER) -> str:
    """The code that a model knows the language by, or "" where the text says that it is to be found.

    The text is a code of two or three letters, with or without a region or a script, or a name: `hi`, `hin`, `hi-IN`,
    `HI`, `Hindi`, `हिन्दी`. Mandarin, Standard Arabic and their like (`cmn`, `arb`) go under the language they are of.

    Raises:
        ValueError: nobody can tell what is meant, or the model does not know it; the message says what to write.
    """
    name = _folded(text)
    if name in TO_BE_FOUND or name in known:
        return name if name in known else ""
    possible = list(_possible(text))
    if not possible:
        raise ValueError(_not_understood(text))
    found = next((code for code in possible if code in known), None)
    if found is None:
        codes = ", ".join(sorted(known)) if len(known) <= 10 else "codes such as hi and en"
        raise ValueError(f"the model does not know the language {text!r}; it knows {codes}")
    return found


def target_code(text: str) -> str:
    """The code of a language to translate to: Whisper's where it has one, else ISO 639's; "" for no language.

    Raises:
        ValueError: nobody can tell what is meant; the message says what to write.
    """
    if not text:
        return ""
    possible = list(_possible(text))
    if not possible:
        raise ValueError(_not_understood(text))
    return next((code for code in possible if code in WHISPER), possible[0])


def _possible(text: str) -> Iterator[str]:
    """The codes that may be meant, the likeliest first; none where it is no language."""
    name = re.sub(r"\s*\(.*\)$", "", _folded(text))  # Portuguese (Brazil)
    if name in _codes:
        yield _codes[name]
        return
    try:
        tag = langcodes.Language.get(name)
    except langcodes.LanguageTagError:
        return
    standard = tag.language or ""
    if not re.fullmatch("[a-z]{2,3}", standard) or standard in TO_BE_FOUND or not tag.is_valid():
        return
    yield from (code for code in (standard, OF_WHISPER.get(standard)) if code)
    yield tag.prefer_macrolanguage().language or standard


def _not_understood(text: str) -> str:
    near = difflib.get_close_matches(_folded(text), _codes, 1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"the language {text!r} is not one that can be told: write a language code, such as hi or en{meant}"
