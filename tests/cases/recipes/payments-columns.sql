--- before
INSERT INTO payments VALUES (1, '{"amount": 1.50, "currency": "USD"}'), (2, '{"amount": "7"}'),
    (3, '{"amount": 3, "currency": "EUR", "note": "x"}'), (4, '{"amount": 4, "currency": "EUR"}')
--- old
INSERT INTO payments VALUES (11, '{"amount": 11, "currency": "JPY"}');
UPDATE payments SET details = '{"amount": 44, "currency": "EUR"}' WHERE id = 4
--- new
INSERT INTO payments (id, currency, amount) VALUES (12, 'CHF', 12);
UPDATE payments SET amount = 33 WHERE id = 3
--- both
SELECT * FROM payments ORDER BY id
--> 1|{"amount": 1.50, "currency": "USD"}|USD|1.50
--> 2|{"amount": "7"}|EUR|7
--> 3|{"amount": 33, "currency": "EUR"}|EUR|33
--> 4|{"amount": 44, "currency": "EUR"}|EUR|44
--> 11|{"amount": 11, "currency": "JPY"}|JPY|11
--> 12|{"amount": 12, "currency": "CHF"}|CHF|12
--- shape
CREATE TABLE payments (id bigint PRIMARY KEY, currency text, amount numeric)
--- after
SELECT * FROM payments ORDER BY id
--> 1|USD|1.50
--> 2|EUR|7
--> 3|EUR|33
--> 4|EUR|44
--> 11|JPY|11
--> 12|CHF|12
--- undone
SELECT * FROM payments ORDER BY id
--> 1|{"amount": 1.50, "currency": "USD"}
--> 2|{"amount": "7"}
--> 3|{"amount": 33, "currency": "EUR"}
--> 4|{"amount": 44, "currency": "EUR"}
--> 11|{"amount": 11, "currency": "JPY"}
--> 12|{"amount": 12, "currency": "CHF"}
--- back
SELECT * FROM payments ORDER BY id
--> 1|{"amount": 1.50, "currency": "USD"}
--> 2|{"amount": 7, "currency": "EUR"}
--> 3|{"amount": 33, "currency": "EUR"}
--> 4|{"amount": 44, "currency": "EUR"}
--> 11|{"amount": 11, "currency": "JPY"}
--> 12|{"amount": 12, "currency": "CHF"}
