"""A shop: customers order products, and some send them back or review them."""

from __future__ import annotations

import sqlite3
from random import Random

from workloads.text2sql.domain import CITIES, Domain, Pair, day, insert, person

_DDL = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city TEXT, segment TEXT, joined TEXT);
CREATE TABLE categories (id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, category_id INTEGER REFERENCES categories (id), price REAL, stock INTEGER);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers (id), ordered TEXT, status TEXT);
CREATE TABLE order_items (order_id INTEGER REFERENCES orders (id), product_id INTEGER REFERENCES products (id), quantity INTEGER, unit_price REAL);
CREATE TABLE reviews (id INTEGER PRIMARY KEY, product_id INTEGER REFERENCES products (id), customer_id INTEGER REFERENCES customers (id), rating INTEGER);
"""
_CATEGORIES = {
    "Books": (("Atlas", "Novel", "Cookbook", "Biography", "Dictionary"), 8, 40),
    "Electronics": (("Laptop", "Headphones", "Keyboard", "Monitor", "Camera"), 30, 1500),
    "Garden": (("Shovel", "Hose", "Lantern", "Bench", "Planter"), 10, 250),
    "Kitchen": (("Kettle", "Pan", "Knife", "Blender", "Toaster"), 12, 180),
    "Sports": (("Racket", "Helmet", "Tent", "Bicycle", "Kayak"), 15, 900),
    "Toys": (("Puzzle", "Robot", "Kite", "Train", "Doll"), 5, 90),
}
_MAKES = ("Alpine", "Nordic", "Classic", "Compact", "Royal", "Basic")
_STATUSES = ("delivered", "shipped", "cancelled", "returned", "open")


def _fill(connection: sqlite3.Connection, rng: Random) -> None:
    segments = ("private", "business", "school")
    people = [
        (number, person(rng), rng.choice(CITIES), rng.choices(segments, (6, 3, 1))[0], day(rng, 2018, 2023))
        for number in range(1, 241)
    ]
    insert(connection, "customers", list(people))
    insert(connection, "categories", list(enumerate(_CATEGORIES, 1)))
    prices = _products(connection, rng)
    orders, items = [], []
    for number in range(1, 1201):
        orders.append((number, rng.randint(1, 220), day(rng), rng.choices(_STATUSES, (12, 3, 2, 1, 2))[0]))
        items += [
            (number, product, rng.randint(1, 5), round(prices[product] * rng.uniform(0.9, 1.0), 2))
            for product in rng.sample(sorted(prices), rng.randint(1, 4))
        ]
    insert(connection, "orders", list(orders))
    insert(connection, "order_items", list(items))
    reviews = [
        (number, rng.randint(1, 70), rng.randint(1, 220), rng.choices((1, 2, 3, 4, 5), (1, 1, 3, 5, 6))[0])
        for number in range(1, 601)
    ]
    insert(connection, "reviews", list(reviews))


def _products(connection: sqlite3.Connection, rng: Random) -> dict[int, float]:
    """Makes the products and returns their prices."""
    rows: list[tuple[object, ...]] = []
    prices: dict[int, float] = {}
    for category, (things, low, high) in enumerate(_CATEGORIES.values(), 1):
        for thing in things:
            for make in rng.sample(_MAKES, 3):
                price = round(rng.uniform(low, high), 2)
                prices[len(rows) + 1] = price
                rows.append((len(rows) + 1, f"{make} {thing}", category, price, max(0, rng.randint(-12, 120))))
    insert(connection, "products", rows)
    return prices


_EXAMPLES = (
    Pair("How many products are there?", "SELECT COUNT(*) FROM products"),
    Pair("List the names of customers in Prague.", "SELECT name FROM customers WHERE city = 'Prague'"),
    Pair("What is the highest price of a product?", "SELECT MAX(price) FROM products"),
    Pair(
        "How many products does each category have?",
        "SELECT c.name, COUNT(*) FROM products p JOIN categories c ON p.category_id = c.id GROUP BY c.name",
    ),
    Pair("How many orders are open?", "SELECT COUNT(*) FROM orders WHERE status = 'open'"),
    Pair(
        "Which three customers placed the most orders?",
        "SELECT c.name FROM customers c JOIN orders o ON o.customer_id = c.id GROUP BY c.id ORDER BY COUNT(*) DESC, c.id LIMIT 3",
    ),
    Pair(
        "What is the average rating of products in the Books category?",
        "SELECT AVG(r.rating) FROM reviews r JOIN products p ON r.product_id = p.id JOIN categories c ON p.category_id = c.id WHERE c.name = 'Books'",
    ),
    Pair("How many reviews gave a rating of 1?", "SELECT COUNT(*) FROM reviews WHERE rating = 1"),
)

_QUESTIONS = (
    Pair("How many customers live in Berlin?", "SELECT COUNT(*) FROM customers WHERE city = 'Berlin'"),
    Pair("What is the average price of all products?", "SELECT AVG(price) FROM products"),
    Pair("How many orders were cancelled?", "SELECT COUNT(*) FROM orders WHERE status = 'cancelled'"),
    Pair("List the names of products that are out of stock.", "SELECT name FROM products WHERE stock = 0"),
    Pair(
        "What are the five most expensive products and their prices?",
        "SELECT name, price FROM products ORDER BY price DESC LIMIT 5",
    ),
    Pair("How many customers are in each segment?", "SELECT segment, COUNT(*) FROM customers GROUP BY segment"),
    Pair(
        "How many customers have never placed an order?",
        "SELECT COUNT(*) FROM customers WHERE id NOT IN (SELECT customer_id FROM orders)",
    ),
    Pair(
        "What is the total revenue of delivered orders?",
        "SELECT SUM(i.quantity * i.unit_price) FROM order_items i JOIN orders o ON i.order_id = o.id WHERE o.status = 'delivered'",
    ),
    Pair(
        "Which category has the most products in stock in total?",
        "SELECT c.name FROM products p JOIN categories c ON p.category_id = c.id GROUP BY c.id ORDER BY SUM(p.stock) DESC LIMIT 1",
    ),
    Pair(
        "How many orders were placed in 2023?",
        "SELECT COUNT(*) FROM orders WHERE ordered BETWEEN '2023-01-01' AND '2023-12-31'",
    ),
    Pair(
        "What is the average rating of each category?",
        "SELECT c.name, AVG(r.rating) FROM reviews r JOIN products p ON r.product_id = p.id JOIN categories c ON p.category_id = c.id GROUP BY c.name",
    ),
    Pair(
        "Which city has the most customers?",
        "SELECT city FROM customers GROUP BY city ORDER BY COUNT(*) DESC, city LIMIT 1",
    ),
    Pair(
        "How many different products were sold in orders from school customers?",
        "SELECT COUNT(DISTINCT i.product_id) FROM order_items i JOIN orders o ON i.order_id = o.id JOIN customers c ON o.customer_id = c.id WHERE c.segment = 'school'",
    ),
    Pair(
        "What is the largest number of items in a single order?",
        "SELECT MAX(n) FROM (SELECT SUM(quantity) AS n FROM order_items GROUP BY order_id)",
    ),
    Pair(
        "List the names of Toys products that cost less than 20.",
        "SELECT p.name FROM products p JOIN categories c ON p.category_id = c.id WHERE c.name = 'Toys' AND p.price < 20",
    ),
    Pair(
        "How many customers from Vienna joined before 2020?",
        "SELECT COUNT(*) FROM customers WHERE city = 'Vienna' AND joined < '2020-01-01'",
    ),
    Pair(
        "What share of orders was returned, in percent?",
        "SELECT 100.0 * SUM(status = 'returned') / COUNT(*) FROM orders",
    ),
    Pair(
        "Which product was sold in the largest quantity?",
        "SELECT p.name FROM order_items i JOIN products p ON i.product_id = p.id GROUP BY p.id ORDER BY SUM(i.quantity) DESC, p.id LIMIT 1",
    ),
    Pair(
        "How many orders did customers of each city place?",
        "SELECT c.city, COUNT(*) FROM orders o JOIN customers c ON o.customer_id = c.id GROUP BY c.city",
    ),
    Pair(
        "What is the average number of items per order line for Electronics?",
        "SELECT AVG(i.quantity) FROM order_items i JOIN products p ON i.product_id = p.id JOIN categories c ON p.category_id = c.id WHERE c.name = 'Electronics'",
    ),
)

SHOP = Domain("shop", _DDL, _fill, _EXAMPLES, _QUESTIONS)
