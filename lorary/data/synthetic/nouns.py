"""English nouns for the plurals task: the irregular ones with their plurals, and the regular ones."""

from lorary.data.synthetic.recipe import split_words

IRREGULAR_PLURALS: dict[str, str] = dict(
    pair.split(":")
    for pair in split_words(
        """
        man:men woman:women child:children foot:feet tooth:teeth goose:geese mouse:mice louse:lice ox:oxen
        policeman:policemen fisherman:fishermen fireman:firemen snowman:snowmen postman:postmen
        grandchild:grandchildren wolf:wolves leaf:leaves knife:knives life:lives wife:wives half:halves
        shelf:shelves thief:thieves loaf:loaves calf:calves elf:elves potato:potatoes tomato:tomatoes
        hero:heroes echo:echoes quiz:quizzes stomach:stomachs sheep:sheep deer:deer fish:fish
        salmon:salmon aircraft:aircraft crisis:crises basis:bases oasis:oases thesis:theses
        analysis:analyses phenomenon:phenomena medium:media
        """
    )
)

REGULAR_NOUNS = split_words(
    """
    ability academy acorn actor actress actuary address agency anchor angle animal ankle anniversary
    answer ant apple apron arm army arrow artist attic aunt author avenue baby bakery balcony basket
    battery beach bear beard beauty bed bee bell belt bench berry bike bird biscuit blackberry blade
    blanket block boat body bone book boot boss bottle bowl box boy brain branch brick bridge brother
    brush bubble bucket bug bull bus bush butcher butterfly button cabin camel camera canary candle cap
    car card carpet cart castle cat category cave celebrity cemetery century ceremony chain chair charity
    cheek cherry chest chicken chimney chin church circle circus city class clock cloth cloud clown clutch
    coach coat coin colony comb company compass copy corner couch country county cousin cow crab crash
    crayon cross crown crutch cup cupboard currency curtain dairy daisy daughter day deputy desert desk
    diamond diary dictionary dinner discovery dish doctor dog doll dolphin donkey door dragon drawer dream
    dress drink duck duty eagle ear egg elbow elephant embassy enemy energy engine entry essay evening
    exam eye eyelash face factory fairy family fan farmer father feather fence ferry field film finger
    flag flash floor flower fly forest fork fortress fox friend frog fruit galaxy gallery game garden gas
    gate ghost gift giraffe girl glass glove goat goddess grape grass grocery guess guest guitar guy hair
    hammer hand harbor hat hedge helmet hen hill hobby hole horse hospital hostess hotel hour house hunter
    idea illness image inch injury ink inquiry insect iris island ivory jacket jar jelly jewel job joke
    journey judge jug jungle jury kettle key kidney king kiss kitchen kite kitten knee knot ladder lady
    ladybird lake lamb lamp lantern law lawyer leash lemon lens letter library light lion lioness lip list
    lobby lock lorry loss lunch luxury machine map market mask mass match mattress meadow melody memory
    message ministry mirror mission mistake monkey month moon mother motor mountain mouth muscle museum
    mystery nail name nanny napkin neck needle nephew nest net night nose number nurse nursery nut ocean
    office onion orange orchard ostrich otter oven owl page painter palace pan paper parent park party
    pass patch path peach pear pen pencil penny pharmacy pig pigeon pillow pilot pipe pirate pitch planet
    plant plate pocket policy pond pony poppy porch pouch princess prize property pulley puppy purse
    puzzle queen question rabbit radish railway rain raincoat rash rat ray recipe ribbon ring river road
    robot rock roof room root rope rose ruler sandwich sash scarecrow school scratch secret shadow ship
    shirt shoe shop sister sketch skirt sky snail snake sock soldier son song speech sponge spoon spy
    stable stage star station statue stewardess stitch stone storm story strategy strawberry street
    student suitcase summer sun surgery survey sweatshirt switch sword syringe table tail tax taxi teacher
    team temple tent theory thumb ticket tiger toe tongue torch tower town toy tragedy train tray treasure
    treaty tree trench tributary trolley truck trumpet tunnel turkey turtle umbrella uncle university
    valley van vase victory village violin virtue virus visitor voice volley wagon waitress wall walnut
    walrus watch waterfall wave week whale wheel whistle window winter wish witch witness wizard word
    worker worm wrench wrist yard year zebra zone
    """
)
