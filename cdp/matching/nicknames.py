"""Short and familiar forms of given names in English: who writes one often means the other.

A form may stand for several names (Harry for Henry and Harold); two names are related when they share one.
It is evidence of its own level, learned like any other: in records of another language it is never met.
"""

from __future__ import annotations

_FORMS = """
abigail abby abbie gail|abraham abe|adelaide addie ada|albert al bert bertie|alexander alex alec
sandy xander|alexandra alex sandra sasha lexi|alfred alf alfie fred|alice ally|amanda mandy|amelia
amy millie|andrew andy drew|angela angie|ann anne anna annie nancy nan hannah|anthony tony ant |
archibald archie|arthur art artie|augustus gus|barbara barb babs|bartholomew bart|beatrice bea trixie |
benjamin ben benny benji|bernard bernie|bertha bertie|bradley brad|bridget biddy|cameron cam |
caroline carrie carol|cassandra cass cassie|catherine cathy kate katie katherine kathryn kathleen kit
kitty catharine|cecil cec|cecilia cissy celia|charles charlie charley chas chuck|charlotte lottie
charlie|christian chris|christina chris tina chrissie|christine chris tina chrissie|christopher
chris kit topher|clifford cliff|constance connie|cornelius neil|cynthia cindy|cyril cy|daniel
dan danny|david dave davy|deborah deb debbie debra|dennis denny|diana di|dominic dom nick|donald
don donnie|dorothy dot dottie dolly|douglas doug|edgar ed|edith edie|edmund ed eddie ned|edward
ed eddie ned ted teddy|edwin ed eddie|eleanor ellen nell nellie nora ellie|elijah eli|elizabeth liz
lizzie beth bess betty betsy eliza lisa libby elsie lily elisabeth|ella ellie|ellen nell nellie|emily
em emmy|emma em|ernest ernie|esther essie hester|eugene gene|eugenia genie|evelyn eve evie |
ezekiel zeke|florence flo florrie flossie|frances fran fanny frankie|francis frank fran frankie |
franklin frank|frederick fred freddie freddy fritz frederic|gabriel gabe|gabriella gabby ella |
geoffrey geoff jeff|george georgie|gerald gerry jerry|gerard gerry|gertrude gertie trudy|gilbert
gil bert|gordon gordie|grace gracie|gregory greg|gwendolen gwen|hannah anna|harold harry hal |
harriet hattie harry|helen nell nellie|ellen lena|henrietta hattie etta hetty|henry harry hal hank |
herbert herb bert|horace horry|howard howie|hubert bert|hugh hughie huey|ignatius iggy|irene
rene|isaac ike|isabella bella izzy isabel belle|isabel bella izzy belle isabelle|isaiah ike|jacob
jake|jacqueline jackie|james jim jimmy jamie jem|jane janie jenny|janet jan|jasmine jas|jean
jeanie|jeffrey jeff|jennifer jen jenny|jeremiah jerry|jeremy jerry jem|jessica jess jessie|joan
joanie|joanna jo|john jack johnny jon jock|jonathan jon jonny|joseph joe joey jos|josephine jo
josie|joshua josh|judith judy|julia julie|julian jules|katherine kate katie kathy kitty kathryn
catherine kit|kathleen kath kathy kate|kenneth ken kenny|laura laurie|laurence larry laurie lawrence
| leonard len lenny leo|leopold leo|lewis lew louis|lillian lily|lilian lillie|louis lou louie
lewis|louisa lou louise|louise lou louisa|lucas luke|lucinda lucy|lucy lu|lydia liddy|mabel
mab|madeleine maddie madeline|magdalena lena|malcolm mal|margaret maggie meg peg peggy madge marge
daisy greta rita margery|maria mary|marianne mary anne|marjorie marge|martha mattie patty|martin
marty|mary molly polly may mamie|matilda tilly mattie|matthew matt mat|maurice morrie|maximilian
max|melissa mel|mervyn merv|michael mike mick mickey micky|mildred millie|montague monty |
mortimer mort|nancy nan|natalie nat|nathan nat nate|nathaniel nat nate nathan|nicholas nick nicky
nicolas|nicole nicky|norman norm|oliver ollie|olivia liv livvy|oscar ozzie|oswald oz ozzie |
pamela pam|patricia pat patsy trish tricia patty|patrick pat paddy|paul pauly|penelope penny |
percival percy|peter pete|philip phil phillip pip|philippa pippa|phyllis phyl|priscilla cilla |
rachel rach|randolph randy|raymond ray|rebecca becky becca|reginald reg reggie|richard dick dickon dickie
rick ricky rich|robert rob robbie bob bobby bert robin|roberta bobbie|roderick rod|rodney rod |
roger rodge|roland rollo rolly|ronald ron ronnie|rosalind ros rose|rosamund ros rose|rose rosie |
rosemary rosie rose|rudolph rudy|rupert rupe|russell russ|ruth ruthie|samantha sam|samson sam |
samuel sam sammy|sarah sally sadie sara|sebastian seb|sidney sid sydney|simon si simeon|solomon
sol|sophia sophie|stanley stan|stephen steve steven|stephanie steph|stuart stu stewart|susan sue
susie suzy susanna|susanna sue susan|sylvester sly|sylvia syl|terence terry|theodora dora theo |
theodore ted teddy theo|theresa tess tessa terry teresa|thomas tom tommy|timothy tim timmy|tobias
toby|valentine val|valerie val|vera vee|veronica ronnie|victor vic|victoria vicky tori vic |
vincent vince vin|violet vi|virginia ginny|vivian viv|wallace wally|walter wally walt wat |
wilfred wilf fred|wilhelmina minnie mina|william will willie bill billy liam wm|winifred win winnie
freda|winston win|zachary zach zack
"""


def _names() -> dict[str, frozenset[str]]:
    made: dict[str, set[str]] = {}
    for line in _FORMS.split("|"):
        forms = line.split()
        for form in forms:
            made.setdefault(form, {form}).add(forms[0])
    return {form: frozenset(names) for form, names in made.items()}


_NAMES = _names()


def formal(given: str) -> list[str]:
    """Return the names that the first of some given names may stand for, itself among them."""
    first = given.split(" ", 1)[0]
    return sorted(_NAMES.get(first, (first,)))
