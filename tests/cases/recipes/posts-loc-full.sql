--- before
INSERT INTO posts VALUES (1, 1, 10, 'a'), (2, 2, 20, 'b'), (3, NULL, NULL, 'c'), (4, 4, 40, 'd')
--- old
INSERT INTO posts (id, lat, lng) VALUES (11, 5, 50);
UPDATE posts SET lat = 44 WHERE id = 4
--- new
INSERT INTO posts (id, loc) VALUES (12, point(60, 6));
UPDATE posts SET loc = point(11, 1) WHERE id = 1
--- both
SELECT id, lat, lng, loc FROM posts ORDER BY id
--> 1|1|11|(11,1)
--> 2|2|20|(20,2)
--> 3|∅|∅|∅
--> 4|44|40|(40,44)
--> 11|5|50|(50,5)
--> 12|6|60|(60,6)
--- shape
CREATE TABLE posts (id bigint PRIMARY KEY, body text, loc point)
--- after
SELECT id, loc FROM posts ORDER BY id
--> 1|(11,1)
--> 2|(20,2)
--> 3|∅
--> 4|(40,44)
--> 11|(50,5)
--> 12|(60,6)
--- back
SELECT id, lat, lng, body FROM posts ORDER BY id
--> 1|1|11|a
--> 2|2|20|b
--> 3|∅|∅|c
--> 4|44|40|d
--> 11|5|50|∅
--> 12|6|60|∅
