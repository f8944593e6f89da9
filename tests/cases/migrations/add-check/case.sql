--- before
CREATE TABLE people (id int PRIMARY KEY, age int);
INSERT INTO people VALUES (1, 7), (2, -1), (3, 999), (4, NULL)
--- old
INSERT INTO people VALUES (11, -5);
UPDATE people SET age = 8 WHERE id = 1
--- new
INSERT INTO people (id, age_new) VALUES (12, 12);
UPDATE people SET age_new = 40 WHERE id = 4
--- both
SELECT * FROM people ORDER BY id
--> 1|8|8
--> 2|-1|0
--> 3|999|150
--> 4|40|40
--> 11|-5|0
--> 12|12|12
--- shape
CREATE TABLE people (id int PRIMARY KEY, age int CONSTRAINT age_makes_sense CHECK (age BETWEEN 0 AND 150))
--- after
SELECT * FROM people ORDER BY id
--> 1|8
--> 2|0
--> 3|150
--> 4|40
--> 11|0
--> 12|12
--- undone
SELECT * FROM people ORDER BY id
--> 1|8
--> 2|-1
--> 3|999
--> 4|40
--> 11|-5
--> 12|12
--- back
SELECT * FROM people ORDER BY id
--> 1|8
--> 2|0
--> 3|150
--> 4|40
--> 11|0
--> 12|12
