"""A small text to compare two models by when nothing better is at hand: everyday turns of some kinds.

Two models of unlike width have no distance of their own; how each arranges a fixed set of samples is what can be
compared. Samples of one's own data are better, and so are more of them.
"""

from __future__ import annotations

DIALOGUES: tuple[tuple[str, ...], ...] = (
    ("Good morning!", "Morning. Did you sleep well?", "Not really, the neighbours had a party."),
    ("What time does the train to Busan leave?", "At ten past nine.", "Then we should hurry."),
    ("Could you pass me the salt?",),
    ("I have been to the doctor.", "And what did she say?", "I should drink less coffee."),
    ("How do I sort a list in Python?", "Use sorted(items).", "And in reverse?"),
    ("The meeting is moved to Thursday.", "Fine, I will tell the others."),
    ("Why is the sky blue?",),
    ("My bicycle has a flat tyre again.", "I can lend you mine.", "That would save my day."),
    ("What is seventeen times six?", "One hundred and two.", "Are you sure?"),
    ("She never answered my letter.", "Perhaps it got lost."),
    ("Explain photosynthesis to a child.",),
    ("We lost the match by three goals.", "Against whom?", "The team from the village next door."),
    ("Is there a vegetarian dish on the menu?", "The soup, and the mushroom risotto."),
    ("The court dismissed the appeal because it had been filed too late.",),
    ("I adopted a cat.", "What is its name?", "Biscuit. It hides under the sofa all day."),
    ("Translate 'the river is deep' into French.", "La rivière est profonde."),
    ("My flight is cancelled.", "Oh no. Will they put you on another?", "Tomorrow, if I am lucky."),
    ("The enzyme loses its activity above sixty degrees, as its fold comes apart.",),
    ("Do you like jazz?", "Only live.", "There is a concert on Saturday."),
    ("Write a haiku about snow.",),
    ("How much is the rent?", "Nine hundred a month, heating included.", "That is more than I can pay."),
    ("I cannot find my keys.", "Have you looked in your coat?"),
    ("Interest rates rose for the third time this year, and house prices began to fall.",),
    ("Happy birthday!", "Thank you! Come in, there is cake."),
    ("Who wrote Don Quixote?", "Miguel de Cervantes.", "When?"),
    ("The printer is out of paper.", "There is more in the cupboard on the left."),
    ("저녁 뭐 먹을까?", "김치찌개 어때?", "좋아, 내가 두부 사 올게."),
    ("오늘 회의는 몇 시에 시작하나요?", "세 시입니다."),
    ("Let f be continuous on a closed interval; then it takes its maximum there.",),
    ("Are you angry with me?", "No, only tired.", "Then get some rest."),
    ("How many legs does a spider have?", "Eight."),
    ("The old lighthouse keeper counted the ships, as he had done every evening for forty years.",),
    ("Can I return these shoes?", "Within two weeks, with the receipt.", "I threw it away."),
    ("Turn left after the bridge, then it is the second door.",),
    ("Did you finish the report?", "Nearly, the figures for May are missing."),
    ("What would you do with a million?", "Sleep first.", "And then?"),
    ("SELECT name FROM users WHERE age > 30;",),
    ("It has rained for six days.", "The cellar is under water by now."),
    ("My daughter wants to be an astronaut.", "Mine too, since she saw the launch."),
    ("Please summarise our conversation in one sentence.",),
)
