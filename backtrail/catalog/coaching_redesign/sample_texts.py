"""Words of the sample: what people who never were said to coaches who never were."""

from __future__ import annotations

from typing import Final

NAMES: Final = (
    *("Zoë", "José", "李雷", "Олена", "Aisha", "Björn", "Nguyễn An", "Σοφία", "محمد", "Łukasz", "Priya", "さくら"),
    *("Siobhán", "Kwame", "O'Brien", "François", "Jürgen", "Emma 🌻", "Noor", "Ivan", "김민준", "Tāne"),
)
GREETINGS: Final = ("Coach: Hello, how are you today?", "Coach: Good morning! Good to see you again.", "Coach: Hi, welcome back.")
QUESTIONS: Final = (
    "What would be different if you had already decided?",
    "What is the smallest step that would still count?",
    "Who else is affected by this, and what do they need from you?",
    "What did you notice in yourself at that moment?",
    "What are you saying no to when you say yes to this?",
    "How will you know that it worked?",
)
ANSWERS: Final = (
    "I finally told my manager that I want to lead the new team, and she took it better than I had feared.",
    "I keep saying yes to every meeting, and then there is no time left for the work that I am proud of.",
    "When I delegated the report I was nervous for a whole day, but it came back better than I would have written it.",
    "I notice that I apologise before I have said anything at all.",
    "My sister called on Sunday and we talked for an hour without arguing; I had missed that.",
    "I ran five kilometres without stopping ⛰️, which I have not done since school.",
    "Maybe I am not afraid of failing but of being seen while I try.",
    "The promotion would mean moving, and I have not asked my family what they think about it.",
    "I want to write every morning before I look at the news, even if it is only a page.",
    "Es fällt mir leichter, Nein zu sagen, wenn ich vorher aufgeschrieben habe, wozu ich Ja sage.",
)
CELEBRATIONS: Final = (
    "Led the quarterly review without notes",
    "Asked for help before it was too late, and got it from two colleagues who had waited to be asked",
    "Said no to a project that did not fit",
    "Finished the first chapter 🎉",
    "J'ai tenu ma promesse de rentrer avant dix-neuf heures",
    "和经理谈了我的职业发展计划",
)
INTENTIONS: Final = (
    "Delegate two tasks before the end of the month",
    "Write for twenty minutes every morning",
    "Have the difficult conversation with the landlord this week, and not by e-mail",
    "Sleep seven hours on weekdays",
    "Ask three people for honest feedback",
)
DISCOVERIES: Final = (
    "Rest is part of the work and not a reward for it",
    "Silence in a meeting is not a question that I have to answer",
    "I am patient with everybody except myself",
)
GOALS: Final = (
    "Lead a team of five",
    "Finish the novel that I began in 2019",
    "Run a half marathon 🏃",
    "Spend one evening a week without a screen",
    "Devenir formatrice à mon compte",
    "Build savings for six months",
)
VISIONS: Final = (
    "I wake up on Mondays and look forward to the people I work with.",
    "It lies printed on the table, and my mother reads it.",
    "I cross the line with a smile, and my knees do not hurt.",
)
TAGS: Final = (
    "leadership",
    "delegation",
    "family",
    "health",
    "creativity",
    "career",
    "confidence",
    "work_life balance",
    "écriture",
)
EMOJI: Final = ("🌱", "🙂", "🚀", "😐", "🏔️")
STRENGTHS: Final = ("Achiever", "Learner", "Empathy", "Strategic", "Connectedness")
