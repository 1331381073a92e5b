"""The words that may follow a number without changing it: units, currencies, counted things. Pure.

The lists are closed: any other word ("doubled", "excluded", "quadrillion") changes the answer. The counted things are
from the answers and questions of GSM8K, MATH and OlympiadBench.
"""

from __future__ import annotations


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Normalised spelling -> full names, singular. `_unit_names` forms the plurals.
_NAMED = {
    "in": "inch inche",
    "ft": "foot feet",
    "yd": "yard",
    "mi": "mile",
    "lb": "pound",
    "oz": "ounce",
    "ton": "ton",
    "tonne": "tonne",
    "acre": "acre",
    "ha": "hectare",
    "gal": "gallon",
    "qt": "quart",
    "pt": "pint",
    "cup": "cup",
    "tbsp": "tablespoon",
    "tsp": "teaspoon",
    "min": "minute",
    "h": "hour",
    "day": "day",
    "week": "week",
    "month": "month",
    "year": "year",
    "decade": "decade",
    "century": "century centurie",
    "$": "dollar buck usd",
    "€": "euro eur",
    "£": "gbp",
    "¥": "yen",
    "₹": "rupee inr",
    "cent": "cent",
    "penny": "penny pennie",
    "peso": "peso",
    "peseta": "peseta",
    "°": "degree",
    "rad": "radian",
    "mi h^-1": "mph",
    "km h^-1": "kph kmh kmph",
    "mi gal^-1": "mpg",
    "rev min^-1": "rpm",
    "rev": "revolution",
    "pm": "pm",
    "am": "am",
    "1": "unit",
    "kg": "kilo",
    "knot": "knot",
    "AU": "au",
    "ly": "lightyear light-year",
    "bit": "bit",
    "byte": "byte",
    "dB": "decibel",
    "cal": "calorie",
    "lb in^-2": "psi",
    "atm": "atmosphere",
    "hp": "horsepower",
    "Å": "angstrom ångström",
    "slug": "slug",
}
_SHORT = {
    "in": "in", "ft": "ft", "yd": "yd", "yds": "yd", "mi": "mi", "lb": "lb", "lbs": "lb", "oz": "oz", "gal": "gal",
    "qt": "qt", "pt": "pt", "tbsp": "tbsp", "tsp": "tsp", "ha": "ha", "s": "s", "sec": "s", "secs": "s", "min": "min",
    "mins": "min", "h": "h", "hr": "h", "hrs": "h", "yr": "year", "yrs": "year", "rad": "rad", "deg": "°", "atm": "atm",
    "dB": "dB", "hp": "hp", "ly": "ly", "sr": "sr", "kcal": "kcal", "l": "L", "ml": "mL", "cl": "cL", "dl": "dL",
    "cc": "cm^3", "¢": "cent", "kgs": "kg", "gm": "g", "gms": "g", "kms": "km", "cms": "cm", "Å": "Å",
}  # fmt: skip
_PREFIXES = {"nano": "n", "micro": "μ", "milli": "m", "centi": "c", "deci": "d", "kilo": "k", "mega": "M", "giga": "G"}
_METRIC_ONLY = ("c", "d")  # centi and deci: of metres, grams and litres
_SCALED = {
    "m": "meter metre", "g": "gram gramme", "L": "liter litre", "s": "second", "W": "watt", "Hz": "hertz hertze",
    "Pa": "pascal", "J": "joule", "V": "volt", "A": "ampere amp", "N": "newton", "eV": "electronvolt", "mol": "mole",
    "Ω": "ohm", "C": "coulomb", "F": "farad", "Wh": "watthour watt-hour", "B": "byte",
}  # fmt: skip
# Units of one letter. K, M and B are missing: they also mean thousand, million and billion.
SINGLE_LETTERS = frozenset("mghsLVAWJNC")
# Abbreviations that may follow a number without \\text: "5 nm" could be a product.
BARE = _listed("""mm cm km mi ft in yd kg kgs mg lb lbs oz ml mL min mins hr hrs sec secs mph kmh Hz kHz Pa kPa kJ kW MW
GB MB rpm psi mpg USD ¢""")  # fmt: skip


def _unit_names() -> dict[str, str]:
    """Maps full names in lower case, singular and plural, to the normalised spelling: "kilometers" to "km"."""
    names: dict[str, str] = {}
    for unit, spellings in _NAMED.items():
        for name in spellings.split():
            names |= {name + plural: unit for plural in ([""] if "." in name else ["", "s"])}  # p.m has no plural
    for unit, spellings in _SCALED.items():
        for name in spellings.split():
            for prefix, letter in {"": "", **_PREFIXES}.items():
                if letter in _METRIC_ONLY and unit not in "mgL":
                    continue
                names |= {prefix + name + plural: letter + unit for plural in ("", "s")}
    return names


def _abbreviations() -> dict[str, str]:
    """Maps abbreviations to the normalised spelling. Their case counts: mW is not MW."""
    scaled = {
        letter + unit: letter + unit
        for unit in _SCALED
        for letter in _PREFIXES.values()
        if letter not in _METRIC_ONLY or unit in "mgL"
    }
    long = {unit: unit for unit in _SCALED if len(unit) > 1 or unit in SINGLE_LETTERS}
    return scaled | long | _SHORT


UNIT_NAMES = _unit_names()
ABBREVIATIONS = _abbreviations()

# Factors: "5 million" is 5,000,000. "k", "mn", "grand", "gross" and "score" are on no list.
FACTORS = {"hundred": 100, "dozen": 12, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}

# Words about how a number was counted; they do not change it.
NEUTRAL = _listed(
    "distinct different unique possible total left remaining altogether each more fewer extra additional of a an the"
)
# These words need no noun.
CLOSING = _listed("total left remaining altogether each")

# Words that may follow a unit of measurement: 6 feet tall.
MEASURED = _listed("long tall high wide deep thick old away apart")

# Words before a noun. They are part of the unit: 3 red balls are not 3 blue balls.
ADJECTIVES = _listed("""
red orange yellow green blue purple violet pink white black brown grey gray silver gold golden big small large little
tall short long wide deep old new young whole full empty ordered unordered right isosceles equilateral scalene obtuse
acute square cubic lattice trailing consecutive perfect proper common regular real complex rational irrational integer
positive prime composite even odd three-digit two-digit four-digit five-digit chocolate apple orange lemon flour sugar
salt water milk juice coffee tea paint gas gasoline fuel rice corn wheat ice cream butter cheese bread meat sand
gravel soil wood rope string ribbon fabric cloth yarn fence fencing
""")

# Units of more than one word.
PHRASES = {
    "degrees celsius": "°C", "degree celsius": "°C", "degrees fahrenheit": "°F", "degree fahrenheit": "°F",
    "us dollars": "$", "american dollars": "$", "light years": "ly", "nautical miles": "nmi", "fluid ounces": "floz",
    "fl oz": "floz", "p m": "pm", "a m": "am",
}  # fmt: skip

COUNTED = _listed("""
accidents acorns actors addresses adults aircraft albums alligators angles animals answers antacids ants apartments
appetizers apples apps aprons aquariums arcs arms arrangements articles artifacts artworks asymptotes athletes
attendees avocados awards babies badges bags baguettes bales balloons balls bananas bandages bands barrels bars
basketballs baskets batches baths bats batteries beads beakers beans bears beds bees beetles berets berries bicycles
bikes billboards bills birches birds biscuits bishops bites bits blankets blisters blocks blossoms blueberries boats
bollards bolts bones bonnets bookcases books bookshelves bottles bouquets bowlfuls boxes boys bracelets branches
breads bricks brochures brothers brownies brunettes bubbles bucks bugs buildings bulbs bulls bunches bundles bunnies
buns burgers burritos buses bushes businesses butterflies buttons buyers cabbages cabinets cacti cages cakes calls
calories campers candies candles candy canes cans caps capsules cards carnations carpenters carpets carriages carrots
cars cartons carts cases castles caterpillars cats cattle cavities ceilings cells centers chairs champions channels
chapters characters chargers cheerleaders cheesecakes chefs cherries chickens children chips chives chocolates choices
chords chores circles citations citizens clamps classes claws clerks clips clothes clouds clovers cloves clownfish
coats cobs coconuts codes coefficients coins collectors colorings colors colourings columns combinations comics
committees complaints computers cones configurations contacts containers convertibles cookies copies coughs counselors
countries couples courses cousins cows crabs crackers cranberries cranes craters crates crayfish crayons creams
crickets crops crows cubes cubs cucumbers cupcakes customers cycles cylinders daisies daps daughters decks decorations
deer delegates desserts diagonals diapers diaries dice digits dimes dinners dinosaurs dishes dives divisors doctors
dogs dolls dolphins dominoes dominos donuts doors dots doughnuts doughs downloads dragons drawings draws dreams
dresses drivers driveways drops drums ducklings ducks dumplings earrings ears eaters edges eggs elements elephants
elves emails employees employers emus engines envelopes episodes equations erasers errors events exams exercises eyes
faces factors fairies families farmers fathers feathers feedings females fences figurines files filets fillets
firecrackers fireflies firemen fires fireworks fish fishes flamingoes flamingos flashlights flavors fleas flies
flights flips floors flowers flyers followers footprints fractions friends fries frogs fruit fruits functions games
geckos geese gems gemstones gifts gigs gingerbreads giraffes girls glasses gnomes goals goats goldfish graders grains
grandchildren grapes graphs grasshoppers groups guests guitars gumballs guns guppies haircuts hairs hamburgers
handbags hands handshakes hangers hatchlings hats heads hens heptagons hexagons highlighters hits hives holes homes
hoodies horses hotdogs houses humans hybrids individuals inequalities ingredients insects instances
instructions instruments integers intercepts intersections intervals ions items jacks jars jeans jellybeans jellyfish
jerseys jewels jobs joggers jokes jugs juniors kangaroos kernels keys kids kinds kings kitchens kites kittens knaves
knights knockouts koalas ladies lambs laps lattices leaves legos legs lemons lessons letters levels lids lights lilies
limbs limes lines lions llamas loads loaves lockers lollipops loops macaroons machines magazines magnets mangoes
mangos marbles marigolds markers marks marshmallows mascots masks matches matchsticks matrices meals meatballs medals
melons members men messages mice milkshakes millipedes minnows mistakes models modules money monsters moose mosquitoes
mothers motorcycles mountains moves movies muffins mugs multiples mushrooms musicians nails napkins necklaces nephews
nerds newborns newspapers nickels nights nodes notebooks notes novels numbers nurses nuts objects octagons officers
omelets onions oranges orchards orchids orders outcomes outfits oxen oysters packages packets packs pages pails
paintings pairs palindromes pallets pamphlets pancakes panels pans pants papayas paperclips papers parallelograms
parents parsnips participants particles partitions passengers passes passwords pastries paths patients pawns paws
peaches peanuts pebbles penalties pencils penguins pennies pens pentagons people peppers periods permits permutations
persons petals pets phones photographs photos pictures pieces pies pigeons pillows pills pineapples pinecones pines
pins pirates pistachios pitches pixels pizzas planes planets planks planters plants plates players plugs plums pockets
points poles policemen polygons polynomials pomelos poodles pools pops popsicles porcupines portions portraits
positions possibilities postcards posters posts potatoes pots presents presidents pretzels primes prisms problems
products pufferfish puffs pull-ups pumpkins pumps punches pupils puppies push-ups pushups pyramids pythons
quadrilaterals quadruples queens questions rabbits raccoons racers racks raisins raspberries rats reams recipes
records rectangles regions reports requests researchers residents restaurants rhinestones rhombuses ribbons rice
riddles ridges rings rocks rodents rods rolls rooks roommates rooms roosters roots roses rotations rounds routes rows
rungs runners sacks salads sales salesmen salmon samples sandcastles sandwiches saplings sausages scarves schoolers
schools scientists scoops screens screws seagulls seashells seatings seats sections sectors seedlings seeds segments
semesters sentences sequences servings sessions sets shares sharks sheep sheets shells shelves shingles ships shirts
shoes shots showers shrimp siblings sides sightings signatures signs singers sisters sit-ups situps skirts slats
slices snacks snails snakes snowflakes snowmen soaps socks sodas softballs soldiers solutions songs sonnets sons
sophomores souvenirs spaces spears spheres spins spokes spoons spots sprigs squares squirrels stairs stakes stalls
stamps staplers stars states statues steaks stems steps stickers sticks stitches stones stores stories strands
strawberries straws streetlights streets strikers strings stripes strips strokes students stuffies subjects subsets
suckers suitcases suits sunflowers supplies surfers swans sweaters sweets swine switches swordfish symbols systems
t-shirts tables tabs tadpoles tanks tarantulas tasks tattoos teachers teacups teams tears teeth televisions tents
terms teslas texts things thorns throws thumbtacks tickets tiles tilings times tins tires tissues toads toddlers toes
tokens tomatoes tools toonies toothbrushes topics tosses touchdowns tourists tournaments towels towers toys
trains trapezoids trays treasures treats trees trials triangles triples trips trolls trout trouts trucks tubes tubs
tulips tuples turns turtles twigs unicorns uniforms utensils vacations values vampires vegetables vehicles vertices
vessels vests vibrations videos vines violins visitors volleyballs volunteers voters votes waiters walls walnuts
washers watches watermelons ways weasels weeds weekends whales wheels whiskers wicks widgets windows wings women words
workers worms x-intercepts y-intercepts yolks zeroes zeros
""")
_IRREGULAR = {
    "person": "people", "persons": "people", "child": "children", "man": "men", "woman": "women", "mouse": "mice",
    "goose": "geese", "die": "dice", "ox": "oxen", "vertex": "vertices", "matrix": "matrices", "cactus": "cacti",
    "zeroes": "zeros", "colorings": "colourings", "coloring": "colourings",
}  # fmt: skip


def counted_noun(word: str) -> str | None:
    """Returns the plural of a counted noun in lower case: "apples" for "apple" and "apples"; else None."""
    plurals = [word, f"{word}s", _IRREGULAR.get(word, word)]
    if word.endswith(("s", "x", "z", "ch", "sh", "o")):
        plurals.append(f"{word}es")
    if word.endswith("y"):
        plurals.append(f"{word[:-1]}ies")
    if word.endswith(("f", "fe")):
        plurals.append(f"{word.rstrip('e')[:-1]}ves")
    plural = next((plural for plural in plurals if plural in COUNTED), None)
    return _IRREGULAR.get(plural, plural) if plural else None
