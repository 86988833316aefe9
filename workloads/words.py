"""Common English words, each one token in the vocabularies of usual models when a space is before it."""

from __future__ import annotations

_TEXT = """
able about above across after again against age ago agree air all almost alone along already also always among
amount animal another answer any area arm around arrive art ask attack away baby back bad bag ball bank base beat
beautiful because become before begin behind believe best better between big bird black blood blue board boat body
book both box boy break bridge bring brother build building burn business buy call camp car care carry case catch
cause center century change child choose church city class clean clear close cloth cold color come common company
condition contain control cook cool corner cost count country course cover cross crowd cry current cut dance dark
daughter day dead deal death decide deep design develop die different direct distance do doctor dog door doubt down
draw dream dress drink drive drop dry during early earth east easy eat edge effect egg eight either else end energy
enough enter equal even evening event ever every example eye face fact fall family famous far farm fast father feel
few field fight figure fill final find fine finger finish fire first fish five floor flow fly follow food foot force
forest form forward four free fresh friend front full fun game garden gas gather general get girl give glad glass go
gold good govern grand grass gray great green ground group grow guess hair half hand happen happy hard hat have head
hear heart heat heavy help high hill history hit hold home hope horse hot hour house human hundred hunt hurry ice
idea imagine include inside instrument interest iron island job join jump just keep key kind king know land language
large last late laugh law lay lead learn leave left leg length less letter level lie life lift light like line list
listen little live long look love low machine main make man many map mark market material matter mean measure meet
member metal method middle might mile milk mind minute miss modern moment money month moon morning mother mountain
mouth move much music must name nation nature near need never new next night nine noise north nose note nothing
notice number object ocean off offer office often oil old once only open order other outside over own page paint
pair paper part party pass past path pattern pay people perhaps period person picture piece place plain plan plane
plant play point poor position possible power present press price problem process produce promise proper protect
prove public pull push put question quick quiet race radio rain raise range rate reach read ready real reason
receive record red region remember repeat report rest result rich ride right ring rise river road rock roll room
root round row rule run safe sail salt same sand save say scale school science sea season seat second seed seem
select sell send sense sentence separate serve set settle seven several shape share sharp ship shop short should
shoulder show side sign silver similar simple since sing sister sit six size skill skin sky sleep slow small smile
snow social soft soil soldier some son song soon sound south space speak special speed spend spread spring square
stand star start state station stay step still stone stop store story straight strange stream street strong student
study subject success sudden sugar suggest summer sun support sure surface surprise system table tail take talk tall
teach team tell ten test thank their thick thin thing think third those though thought thousand three through throw
time tiny together ton too tool top total touch toward town track trade train travel tree trip trouble true try turn
twenty two type under unit until use usual valley value various very view village visit voice wait walk wall want
war warm watch water wave way wear weather week weight well west wheel when where which while white whole why wide
wife wild will wind window wing winter wish woman wonder wood word work world write wrong yard year yellow yes young
"""
WORDS: tuple[str, ...] = tuple(_TEXT.split())
