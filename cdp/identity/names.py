"""Names of people, Latin and Chinese, for comparing. Pure; a name identifies nobody by itself.

What ``normalise`` folds: what ``characters.words`` folds; titles before a name and degrees behind it;
"Family, Given" is turned round; spaces within a name of Chinese characters; traditional characters that are
common in names become the simplified ones. A generation (Jr, III) stays: it tells father and son apart.

What ``parts`` goes by, first what fits: a comma; a name of Chinese characters, Hangul or kana, the family
name first (one character, two for the compound ones, and two of four); a family name in capitals among other
words; else the last word with the particles before it (van der Berg).
"""

from __future__ import annotations

import re

from cdp.identity.characters import MAX_LENGTH, listed, visible, words

_TITLES = listed(
    "mr mrs ms miss mx master madam sir dame lady lord dr doctor prof professor rev reverend fr father "
    "sr sister hon honorable honourable judge capt captain col colonel gen general lt lieutenant maj "
    "major sgt sergeant herr frau hr fru mme mlle monsieur madame mademoiselle senor senora senorita "
    "sra srta don dona dott ing mag dipl univ"
)
_DEGREES = listed("phd md dds dvm esq esquire cpa mba msc bsc llb llm jd dphil frs obe mbe")
_GENERATIONS = listed("jr junior sr snr senior ii iii iv 2nd 3rd 4th")
_BEHIND = _DEGREES | _GENERATIONS | listed("do od pa rn ma ba bs ms v vi")  # behind a comma
_PARTICLES = listed(
    "van von der den de del della di da das do dos du la le las los el al bin ibn ben bint abu ter ten "
    "te zu zum zur af av vom vander st dello degli dela mac mc"
)
_COMPOUND = listed(
    "欧阳 司马 上官 诸葛 司徒 夏侯 皇甫 尉迟 公孙 慕容 令狐 宇文 长孙 独孤 东方 南宫 西门 端木 申屠 "
    "钟离 司空 太史 轩辕 百里 呼延 淳于 单于 鲜于 闻人 公冶 澹台 濮阳 拓跋 东郭 万俟 闾丘 完颜 纳兰 "
    "赫连 第五 남궁 황보 제갈 사공 선우 서문 독고 동방"
)
# Characters of names in both spellings; a general conversion needs the words around, a name has none.
_PAIRS = listed(
    "張张 劉刘 陳陈 楊杨 趙赵 黃黄 吳吴 孫孙 馬马 鄭郑 謝谢 韓韩 馮冯 鄧邓 許许 蕭萧 葉叶 蘇苏 呂吕 "
    "蔣蒋 賈贾 閻阎 鍾钟 鐘钟 譚谭 陸陆 賴赖 龍龙 萬万 錢钱 湯汤 羅罗 顧顾 嚴严 魯鲁 韋韦 紀纪 項项 "
    "錦锦 寧宁 齊齐 倫伦 偉伟 華华 國国 榮荣 傑杰 強强 麗丽 麥麦 龐庞 竇窦 衛卫 鳳凤 鄒邹 鮑鲍 溫温 "
    "藍蓝 軍军 連连 蘭兰 靜静 曉晓 濤涛 勝胜 學学 慶庆 豐丰 瑩莹 穎颖 瓊琼 瑤瑶 夢梦 歐欧 陽阳 諸诸 "
    "聞闻 長长 東东 門门 離离 單单 儀仪 愛爱 紅红 飛飞 鵬鹏 輝辉 興兴 義义 寶宝 貴贵 銘铭 鋒锋 銳锐 "
    "雲云 蓮莲 賢贤 達达 遠远 進进 運运 邊边 遲迟 樂乐 樹树 權权 歡欢 漢汉 澤泽 潔洁 瀟潇 獻献 瑋玮 "
    "畢毕 盧卢 禮礼 綱纲 維维 緒绪 繼继 續续 聖圣 聰聪 藝艺 親亲 詩诗 語语 誠诚 調调 諾诺 謙谦 譽誉 "
    "讓让 豔艳 艷艳 貞贞 賓宾 贊赞 躍跃 車车 軒轩 輔辅 農农 鄔邬 鎮镇 鏡镜 閔闵 靈灵 韻韵 順顺 頌颂 "
    "顏颜 駿骏 鴻鸿 鶴鹤 鷹鹰 龔龚 餘余 蔭荫 莊庄 區区 喬乔 岡冈 島岛 嵐岚 廣广 應应 懷怀 戰战 時时 "
    "書书 條条 棟栋 極极 樺桦 橋桥 爾尔 環环 畫画 盡尽 礬矾 筆笔 節节 簡简 紹绍 經经 綺绮 緯纬 縣县 "
    "聯联 腦脑 臨临 舊旧 茲兹 薩萨 號号 裝装 覺觉 計计 訓训 記记 論论 識识 議议 護护 變变 貝贝 財财 "
    "買买 賀贺 趕赶 軟软 輪轮 遙遥 鄰邻 鈞钧 鋼钢 鐵铁 關关 陰阴 隨随 雙双 電电 頤颐 飄飘 駱骆 驍骁 "
    "鳥鸟 黨党 龜龟"
)
_TO_SIMPLIFIED = str.maketrans({pair[0]: pair[1] for pair in _PAIRS})
_EAST = "\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
_EASTERN = re.compile(f"[{_EAST}]+")
_EAST_GAP = re.compile(f"(?<=[{_EAST}]) (?=[{_EAST}])")
_MIDDLE_DOT = re.compile("[\u00b7\u2022\u2027\u30fb\uff65]")
_COMMA = re.compile("[,\uff0c\u3001\ufe50]")


def normalise(text: str) -> str:
    """Return a name as it compares: "Dr. José  O’Brien" and "OBRIEN, Jose" become "jose obrien"."""
    before, after = _comma(text)
    folded = " ".join([*after, *before])
    return _EAST_GAP.sub("", folded)


def parts(text: str) -> tuple[str, str]:
    """Return (given names, family name) of a name, each as it compares; empty for what is not there."""
    before, after = _comma(text)
    if after:
        return _joined(_named(after)), _joined(_named(before))
    names = _named(before)
    if names and all(_EASTERN.fullmatch(name) for name in names):
        if len(names) > 1 and not _MIDDLE_DOT.search(text):
            return "".join(names[1:]), names[0]
        if len(names) == 1:
            return _eastern(names[0])
    elif capital := _in_capitals(text):
        family = [name for name in names if name in capital]
        given = [name for name in names if name not in capital]
        if family and given:
            return _joined(given), _joined(family)
    return _last(names)


def _comma(text: str) -> tuple[list[str], list[str]]:
    """Return the words before and behind the comma of "Family, Given"; degrees behind one are no name."""
    before, *rest = (_words(part) for part in _COMMA.split(visible(text[:MAX_LENGTH])))
    if not before:
        return _titleless([word for part in rest for word in part]), []
    loose = _BEHIND if len(before) > 1 else _DEGREES | _GENERATIONS
    given: list[str] = []
    for part in rest:
        if all(_compact(word) in loose for word in part):
            before += [word for word in part if _compact(word) in _GENERATIONS]
        else:
            given += part
    return _titleless(before), _titleless(given)


def _words(text: str) -> list[str]:
    """Return what spaces part, each as it compares; a name with a hyphen, or initials, are several words."""
    found = (words(word).translate(_TO_SIMPLIFIED) for word in _MIDDLE_DOT.sub(" ", text).split())
    return [word for word in found if word]


def _titleless(found: list[str]) -> list[str]:
    """Return the words of a name without titles and degrees, unless there is nothing else."""
    start, end = 0, len(found)
    while end - start > 1 and _compact(found[start]) in _TITLES:
        start += 1
    while end - start > 1 and _compact(found[end - 1]) in _DEGREES:
        end -= 1
    return found[start:end]


def _named(found: list[str]) -> list[str]:
    """Return the words of a name without the generation."""
    return [word for word in found if word not in _GENERATIONS] if len(found) > 1 else found


def _compact(word: str) -> str:
    return word.replace(" ", "")


def _joined(found: list[str]) -> str:
    return " ".join(found)


def _last(names: list[str]) -> tuple[str, str]:
    """Return (given, family): the family name is the last word and the particles before it."""
    if len(names) < 2:
        return _joined(names), ""
    start = len(names) - 1
    while start > 1 and names[start - 1] in _PARTICLES:
        start -= 1
    return _joined(names[:start]), _joined(names[start:])


def _eastern(name: str) -> tuple[str, str]:
    """Return (given, family) of a name without spaces; more than four characters are a transcription."""
    if len(name) == 1:
        return "", name
    if name[:2] in _COMPOUND:
        return name[2:], name[:2]
    if len(name) > 4:
        return name, ""
    return (name[2:], name[:2]) if len(name) == 4 else (name[1:], name[:1])


def _in_capitals(text: str) -> frozenset[str]:
    """Return the words in capitals of a name that has others, too: "DUPONT Jean"."""
    found = [word for word in visible(text[:MAX_LENGTH]).split() if sum(map(str.isalpha, word)) > 2]
    telling = [(word, words(word)) for word in found]
    named = [(word, folded) for word, folded in telling if _compact(folded) not in _TITLES | _BEHIND]
    others = any(not word.isupper() for word, _ in named)
    return frozenset(folded for word, folded in named if word.isupper()) if others else frozenset()
