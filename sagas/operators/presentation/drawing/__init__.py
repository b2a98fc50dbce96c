"""Pictures as SVG text: definitions, timelines and charts. Pure code without models or Django.

Every text is escaped, every picture has a title and a description, and none needs its own style or script: inside a
page the style sheet gives the classes their colours.
"""
