"""The numbers of the server's own types, by what they have in common."""

JSON_OIDS = {114, 3802}
TEXT_OIDS = {18, 19, 25, 1042, 1043}
KEY_TYPES = {
    20: "int",
    21: "int",
    23: "int",
    26: "int",
    2950: "uuid",
    16: "bool",
    17: "bytes",
    1082: "date",
    1114: "datetime",
    1184: "datetime",
    1700: "decimal",
    700: "number",
    701: "number",
} | dict.fromkeys(TEXT_OIDS, "text")
NUMBERS = {20, 21, 23, 26, 700, 701, 1700}
INTERVAL, TIMESTAMP, TIMESTAMP_WITH_ZONE = 1186, 1114, 1184
TIMESTAMPS, INTERVALS = 1115, 1187
"""Arrays of them."""
JSON_ARRAY_OIDS = {199, 3807}
UNEQUAL_OIDS = {700, 701, 1042, 1186, 1700, 3802, -1}
"""Types of which, without a length, different values are equal: -0 and 0, 1.0 and 1.00, 30 days and a month; -1 is citext, which has another
number in every database."""

NAMED_OIDS = {24, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191}
NAMED_ARRAYS = {1008, 2207, 2208, 2209, 2210, 2211, 3735, 3770, 4090, 4097, 4192}
"""regproc, regclass and the like: they print a name, which several things can have, and which changes when the thing is renamed."""

XML, XMLS, BOXES = 142, 143, 1020
FLOAT_OIDS = {700, 701, 600, 601, 602, 603, 604, 628, 718}
"""Numbers, and points and what is made of them: a NaN has a sign and a payload, which no text shows."""
