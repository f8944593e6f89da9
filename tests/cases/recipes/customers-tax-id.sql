--- before
INSERT INTO customers VALUES (1, 'de 123'), (2, 'AT-456'), (3, NULL), (4, 'ch.789')
--- old
INSERT INTO customers VALUES (11, 'fr 11');
UPDATE customers SET tax_id = 'ch 987' WHERE id = 4
--- new
INSERT INTO customers (id, tax_number) VALUES (12, 'IT12');
UPDATE customers SET tax_number = 'DE321' WHERE id = 1
--- both
SELECT * FROM customers ORDER BY id
--> 1|DE321|DE321
--> 2|AT-456|AT456
--> 3|∅|∅
--> 4|ch 987|CH987
--> 11|fr 11|FR11
--> 12|IT12|IT12
--- shape
CREATE TABLE customers (id bigint PRIMARY KEY, tax_number text UNIQUE)
--- after
SELECT * FROM customers ORDER BY id
--> 1|DE321
--> 2|AT456
--> 3|∅
--> 4|CH987
--> 11|FR11
--> 12|IT12
--- undone
SELECT * FROM customers ORDER BY id
--> 1|DE321
--> 2|AT-456
--> 3|∅
--> 4|ch 987
--> 11|fr 11
--> 12|IT12
--- back
SELECT * FROM customers ORDER BY id
--> 1|DE321
--> 2|AT456
--> 3|∅
--> 4|CH987
--> 11|FR11
--> 12|IT12
