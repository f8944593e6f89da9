--- before
CREATE TABLE reviews (id int PRIMARY KEY, verdict text);
INSERT INTO reviews VALUES (1, 'good'), (2, NULL), (3, 'bad'), (4, NULL)
--- old
INSERT INTO reviews VALUES (11, NULL);
UPDATE reviews SET verdict = 'fair' WHERE id = 4
--- new
INSERT INTO reviews (id, verdict_new) VALUES (12, 'great');
UPDATE reviews SET verdict_new = 'better' WHERE id = 1
--- both
SELECT * FROM reviews ORDER BY id
--> 1|better|better
--> 2|∅|none
--> 3|bad|bad
--> 4|fair|fair
--> 11|∅|none
--> 12|great|great
--- shape
CREATE TABLE reviews (id int PRIMARY KEY, verdict text NOT NULL)
--- after
SELECT * FROM reviews ORDER BY id
--> 1|better
--> 2|none
--> 3|bad
--> 4|fair
--> 11|none
--> 12|great
--- undone
SELECT * FROM reviews ORDER BY id
--> 1|better
--> 2|∅
--> 3|bad
--> 4|fair
--> 11|∅
--> 12|great
--- back
SELECT * FROM reviews ORDER BY id
--> 1|better
--> 2|none
--> 3|bad
--> 4|fair
--> 11|none
--> 12|great
