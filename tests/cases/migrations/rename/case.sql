--- before
CREATE TABLE posts (id int PRIMARY KEY, body text);
INSERT INTO posts VALUES (1, 'a'), (2, NULL), (3, ''), (4, 'd')
--- old
INSERT INTO posts VALUES (11, 'old');
UPDATE posts SET body = 'dd' WHERE id = 4
--- new
INSERT INTO posts (id, content) VALUES (12, 'new');
UPDATE posts SET content = NULL WHERE id = 1
--- both
SELECT * FROM posts ORDER BY id
--> 1|∅|∅
--> 2|∅|∅
--> 3||
--> 4|dd|dd
--> 11|old|old
--> 12|new|new
--- shape
CREATE TABLE posts (id int PRIMARY KEY, content text)
--- after
SELECT id, content FROM posts ORDER BY id
--> 1|∅
--> 2|∅
--> 3|
--> 4|dd
--> 11|old
--> 12|new
--- back
SELECT id, body FROM posts ORDER BY id
--> 1|∅
--> 2|∅
--> 3|
--> 4|dd
--> 11|old
--> 12|new
