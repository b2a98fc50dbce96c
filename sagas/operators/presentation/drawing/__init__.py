"""Pictures as SVG text: definitions, timelines and charts. Pure: knows no row and no Django.

Every text is escaped, every picture has a title and a description, and nothing needs a style or a script: inside a page
the classes get their colours from the page's own style sheet.
"""
