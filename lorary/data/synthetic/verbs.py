"""English verbs for the past-tense task: the irregular ones with their past tense, and the regular ones."""

from lorary.data.synthetic.recipe import split_words

IRREGULAR_PASTS: dict[str, str] = dict(
    pair.split(":")
    for pair in split_words(
        """
        arise:arose awake:awoke beat:beat become:became begin:began bend:bent bet:bet bite:bit bleed:bled
        blow:blew break:broke bring:brought build:built buy:bought catch:caught choose:chose cling:clung
        come:came creep:crept cut:cut deal:dealt dig:dug draw:drew drink:drank drive:drove eat:ate
        fall:fell feed:fed feel:felt fight:fought find:found flee:fled fly:flew forbid:forbade
        forget:forgot forgive:forgave freeze:froze get:got give:gave go:went grind:ground grow:grew
        hear:heard hide:hid hit:hit hold:held hurt:hurt keep:kept kneel:knelt know:knew lead:led
        leave:left lend:lent let:let lose:lost make:made mean:meant meet:met pay:paid put:put quit:quit
        read:read ride:rode ring:rang rise:rose run:ran say:said see:saw seek:sought sell:sold send:sent
        shake:shook shoot:shot shrink:shrank shut:shut sing:sang sink:sank sit:sat sleep:slept slide:slid
        speak:spoke spend:spent spin:spun spread:spread stand:stood steal:stole stick:stuck sting:stung
        strike:struck swear:swore sweep:swept swim:swam swing:swung take:took teach:taught tear:tore
        tell:told think:thought throw:threw understand:understood wear:wore weep:wept win:won wind:wound
        write:wrote
        """
    )
)

DOUBLING_VERBS = split_words(
    """
    admit beg chat clap commit control drag drip drop drum fit grab grin hop hug hum jog mop nod occur pat
    permit pin plan plug prefer refer regret rob rub scan scrub ship shop shrug skip slam slip snap step
    stir stop strip submit tap tip transfer trap trim trip trot wag wrap zip
    """
)
"""Regular verbs that double their last letter: ``stop`` -> ``stopped``."""

REGULAR_VERBS = split_words(
    """
    accept accuse achieve act add admire advise agree aim allow amuse announce annoy answer apologize
    appear apply approach argue arrange arrest arrive ask attach attack attempt attend attract avoid bake
    balance bark bathe behave believe belong blame bless blink boast boil borrow bounce bow breathe brush
    bury call camp care carry carve cause celebrate challenge change charge chase cheat check cheer chew
    choke claim clean clear climb close collect comb complain complete concentrate confess confuse connect
    consider continue cook copy correct cough count cover crack crash crawl cross cry cure dance dare
    deceive decide decorate delay deliver demand deny depend describe deserve destroy develop disagree
    disappear discover discuss divide doubt dress dry dust earn educate empty encourage end enjoy enter
    entertain escape examine excuse exercise exist expand expect explain explode explore fade fail fasten
    fear fetch fill film finish fire fix float flow fold follow fool frighten fry gather gaze glow glue
    greet groan guard guess guide hammer hand happen harm hate haunt heal heat help hope hover hunt hurry
    identify imagine improve include increase influence inform injure instruct intend interrupt introduce
    invent invite iron itch jail join joke judge juggle jump kick kill kiss knock land last laugh launch
    lick lift like list listen live load lock long look love manage march mark marry match matter measure
    melt memorize mend miss mix moan mourn move multiply murmur need notice number obey object observe
    obtain offer open order own pack paint park pass pause peel perform phone pick play please point
    polish pour practice pray prepare present press pretend prevent print produce promise protect prove
    provide pull pump punch punish push question race raise reach realize receive recognize record reduce
    reflect refuse relax release rely remain remember remind remove repair repeat replace reply report
    request rescue rest return ruin rule rush sail satisfy save scare scatter scold scratch scream search
    seem separate serve settle shave shelter shiver shock shout sigh sign smile smoke sneeze sniff snore
    soak sound spare spark spray sprinkle squeeze stain stare start stay steer store stretch study succeed
    suffer suggest supply support suppose surprise surround suspect talk tame taste tease thank tickle tie
    touch tour trace trade train treat tremble trick trouble trust try tumble turn twist type unite use
    vanish visit vote wait walk wander want warm warn wash waste watch water wave weigh welcome whisper
    whistle wink wipe wish wonder work worry wrestle yawn yell
    """
)
