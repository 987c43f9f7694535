"""Real surnames by language out of the package Faker: names when no file is given."""

import unicodedata
from collections import Counter

from jaxtyping import PRNGKeyArray

from jaxdl.data.names import NameData, encode_countries, encode_names
from jaxdl.data.splits import random_split
from jaxdl.optional import import_optional

MAX_LENGTH = 20

# Where Faker keeps the last names of a language in Latin letters: locale and attribute.
# Left out: locales that mix in a neighbour's names (fr_BE, fr_CH, de_LU).
FAKER_TABLES = {
    "Chinese": ("zh_CN.last_romanized_names",),
    "Croatian": ("hr_HR.last_names",),
    "Czech": ("cs_CZ.last_names",),
    "Dutch": ("nl_NL.last_names",),
    "English": ("en_US.last_names", "en_GB.last_names"),
    "Estonian": ("et_EE.last_names_est",),
    "Finnish": ("fi_FI.last_names",),
    "French": ("fr_FR.last_names", "fr_CA.last_names"),
    "German": ("de_DE.last_names", "de_AT.last_names"),
    "Hungarian": ("hu_HU.last_names",),
    "Irish": ("ga_IE.last_names",),
    "Italian": ("it_IT.last_names",),
    "Japanese": ("ja_JP.last_romanized_names",),
    "Polish": ("pl_PL.unisex_last_names", "pl_PL.male_last_names"),
    "Portuguese": ("pt_PT.last_names", "pt_BR.last_names"),
    "Slovak": ("sk_SK.last_names",),
    "Spanish": ("es_ES.last_names", "es_MX.last_names"),
    "Swedish": ("sv_SE.last_names",),
}


def bundled_names(key: PRNGKeyArray) -> NameData:
    """Surnames by language, as Faker has them; the key picks a third as the test set.

    Diacritics are taken off (Novák, Müller and Nuñez become Novak, Muller and Nunez),
    and a name is left out when a letter remains that is not ASCII (ł, ß), when it has
    more than 20 characters, or when two languages have it. Languages have as many names
    as Faker lists, whatever their speakers: of the 14,920 in Faker 40.54.0, 3,283 are
    Polish and 49 Japanese.

    Raises:
        ImportError: Faker is not installed, or no longer has one of the tables.
    """
    found = {language: _faker_names(language) for language in FAKER_TABLES}
    languages_of = Counter(name for names in found.values() for name in names)
    pairs = [
        (name, language)
        for language, names in found.items()
        for name in sorted(names)
        if languages_of[name] == 1
    ]
    names, languages = zip(*pairs, strict=True)
    class_names = tuple(sorted(found))
    label = encode_countries(languages, class_names)
    data = {**encode_names(names), "label": label}
    train, test = random_split(key, data, [2 / 3, 1 / 3])
    return NameData(train, test, class_names)


def _faker_names(language: str) -> set[str]:
    """The last names of a language that ASCII can spell without their diacritics."""
    names: set[str] = set()
    for table in FAKER_TABLES[language]:
        locale, attribute = table.split(".")
        module = import_optional(
            f"faker.providers.person.{locale}", "names to train on"
        )
        if not hasattr(module.Provider, attribute):
            raise ImportError(
                f"this version of Faker has no {table}: install the one that jaxdl was "
                "tested with, by pip install faker==40.54.0"
            )
        names |= {
            _without_diacritics(name) for name in getattr(module.Provider, attribute)
        }
    return {name for name in names if name.isascii() and 0 < len(name) <= MAX_LENGTH}


def _without_diacritics(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name)
    return "".join(c for c in decomposed if not unicodedata.combining(c))
