--- before
CREATE TABLE products (id int PRIMARY KEY, cents int NOT NULL DEFAULT 0);
INSERT INTO products VALUES (1, 150), (2, 250), (3, 999), (4, 0), (5, 1)
--- old
INSERT INTO products VALUES (11, 1234);
UPDATE products SET cents = 151 WHERE id = 1;
UPDATE products SET cents = 2 WHERE id = 5
--- new
INSERT INTO products (id, price) VALUES (12, 43.21);
UPDATE products SET price = 2.51 WHERE id = 2;
UPDATE products SET price = 0.01 WHERE id = 4
--- both
SELECT * FROM products ORDER BY id
--> 1|151|1.51
--> 2|251|2.51
--> 3|999|9.99
--> 4|1|0.01
--> 5|2|0.02
--> 11|1234|12.34
--> 12|4321|43.21
--- shape
CREATE TABLE products (id int PRIMARY KEY, cents int NOT NULL DEFAULT 0, price numeric(10, 2) NOT NULL)
--- after
SELECT id, price FROM products ORDER BY id
--> 1|1.51
--> 2|2.51
--> 3|9.99
--> 4|0.01
--> 5|0.02
--> 11|12.34
--> 12|43.21
--- back
SELECT * FROM products ORDER BY id
--> 1|151
--> 2|251
--> 3|999
--> 4|1
--> 5|2
--> 11|1234
--> 12|4321
