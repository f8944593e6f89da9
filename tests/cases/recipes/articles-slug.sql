--- before
INSERT INTO articles VALUES (1, 'Hello, World!'), (2, 'Two  words'), (3, 'x'), (4, 'Draft')
--- old
INSERT INTO articles VALUES (11, 'By the old version');
UPDATE articles SET title = 'Final' WHERE id = 4
--- new
INSERT INTO articles VALUES (12, 'By the new version', 'new');
UPDATE articles SET slug = 'hello' WHERE id = 1
--- both
SELECT * FROM articles ORDER BY id
--> 1|Hello, World!|hello
--> 2|Two  words|two-words
--> 3|x|x
--> 4|Final|final
--> 11|By the old version|by-the-old-version
--> 12|By the new version|new
--- shape
CREATE TABLE articles (id bigint PRIMARY KEY, title text NOT NULL, slug text NOT NULL)
--- after
SELECT id, slug FROM articles ORDER BY id
--> 1|hello
--> 2|two-words
--> 3|x
--> 4|final
--> 11|by-the-old-version
--> 12|new
--- back
SELECT * FROM articles ORDER BY id
--> 1|Hello, World!
--> 2|Two  words
--> 3|x
--> 4|Final
--> 11|By the old version
--> 12|By the new version
