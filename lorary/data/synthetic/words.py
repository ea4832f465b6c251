"""Everyday English words, as many for each first letter."""

from lorary.data.synthetic.recipe import split_words

WORDS_BY_INITIAL: dict[str, tuple[str, ...]] = {
    words[0]: split_words(words)
    for words in (
        "apple arrow autumn angle anchor artist animal answer attic amber acorn army",
        "basket bread bridge butter bottle button blanket beach branch bucket bell bird",
        "candle castle carpet coffee corner cotton cousin camera cabin circle cloud copper",
        "desert dinner doctor dragon drawer dream diamond dust door duck daisy drum",
        "engine evening elbow eagle earth echo egg elephant empire entry edge essay",
        "farmer feather finger flower forest friend fence field flame fox fruit fog",
        "garden ginger guitar glass goat grape gravel guest glove gold grass gate",
        "hammer harbor honey horse house hill helmet hotel heart hat hunter hedge",
        "island iron insect ice inch ink ivory image idea item iris inn",
        "jacket jar jewel judge juice jungle jelly joke journey jug jeep jaw",
        "kettle kitchen knife king kite kitten knee knot key kernel kiosk kingdom",
        "ladder lemon letter library lion lamp lake leaf lantern leather light lunch",
        "market mirror mountain music mango meadow melon mouse moon money mud mask",
        "needle nest night number napkin nature neck noise nurse nut net north",
        "ocean orange oven owl onion office olive orchard otter oak oil opera",
        "paper pencil pepper piano pillow pocket potato planet plum prince pond park",
        "rabbit ribbon river rocket roof rope rose ruler road ring rain rice",
        "salad salt school shadow silver spoon stone summer sugar sailor sand snow",
        "table teacher temple thunder tiger tower train tree turtle tent thread toy",
        "valley velvet village violin vase voice vine visit van victory view vote",
        "wagon wallet water window winter wizard wolf wood wheel whale wind wool",
    )
}
