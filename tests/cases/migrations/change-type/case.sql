--- before
CREATE TABLE orders (id int PRIMARY KEY, quantity int NOT NULL, note text);
INSERT INTO orders VALUES (1, 1, 'a'), (2, 2, NULL), (3, 2147483647, 'c'), (4, -4, 'd')
--- old
INSERT INTO orders VALUES (11, 11, 'old');
UPDATE orders SET quantity = 10 WHERE id = 1;
UPDATE orders SET quantity = 40 WHERE id = 4
--- new
INSERT INTO orders (id, quantity_big, note) VALUES (12, 12, 'new');
UPDATE orders SET quantity_big = 20 WHERE id = 2
--- both
SELECT id, quantity, quantity_big FROM orders ORDER BY id
--> 1|10|10
--> 2|20|20
--> 3|2147483647|2147483647
--> 4|40|40
--> 11|11|11
--> 12|12|12
--- shape
CREATE TABLE orders (id int PRIMARY KEY, note text, quantity bigint NOT NULL)
--- after
SELECT id, quantity, note FROM orders ORDER BY id
--> 1|10|a
--> 2|20|∅
--> 3|2147483647|c
--> 4|40|d
--> 11|11|old
--> 12|12|new
--- back
SELECT id, quantity, note FROM orders ORDER BY id
--> 1|10|a
--> 2|20|∅
--> 3|2147483647|c
--> 4|40|d
--> 11|11|old
--> 12|12|new
