"""A hospital: doctors of departments see patients, diagnose and prescribe."""

from __future__ import annotations

import sqlite3
from random import Random

from workloads.text2sql.domain import CITIES, Domain, Pair, day, insert, person

_DDL = """
CREATE TABLE departments (id INTEGER PRIMARY KEY, name TEXT, floor INTEGER, beds INTEGER);
CREATE TABLE doctors (id INTEGER PRIMARY KEY, name TEXT, department_id INTEGER REFERENCES departments (id), title TEXT, hired TEXT);
CREATE TABLE patients (id INTEGER PRIMARY KEY, name TEXT, gender TEXT, born TEXT, city TEXT, insurance TEXT);
CREATE TABLE visits (id INTEGER PRIMARY KEY, patient_id INTEGER REFERENCES patients (id), doctor_id INTEGER REFERENCES doctors (id), visited TEXT, reason TEXT, cost REAL);
CREATE TABLE diagnoses (id INTEGER PRIMARY KEY, visit_id INTEGER REFERENCES visits (id), name TEXT, severity TEXT);
CREATE TABLE prescriptions (id INTEGER PRIMARY KEY, visit_id INTEGER REFERENCES visits (id), drug TEXT, days INTEGER);
"""
_DEPARTMENTS = ("Cardiology", "Neurology", "Oncology", "Pediatrics", "Surgery", "Radiology", "Emergency")
_TITLES = ("resident", "specialist", "chief")
_REASONS = ("checkup", "emergency", "follow-up", "surgery")
_INSURANCES = ("public", "private", "none")
_DIAGNOSES = ("asthma", "diabetes", "fracture", "hypertension", "infection", "migraine", "pneumonia", "arthritis")
_SEVERITIES = ("mild", "moderate", "severe")
_DRUGS = ("aspirin", "ibuprofen", "insulin", "amoxicillin", "metformin", "salbutamol", "ramipril")


def _fill(connection: sqlite3.Connection, rng: Random) -> None:
    departments = [
        (number, name, rng.randint(0, 5), rng.randrange(10, 60, 2)) for number, name in enumerate(_DEPARTMENTS, 1)
    ]
    insert(connection, "departments", list(departments))
    doctors = [
        (
            number,
            f"Dr. {person(rng)}",
            rng.randint(1, len(_DEPARTMENTS)),
            rng.choices(_TITLES, (4, 5, 1))[0],
            day(rng, 2000, 2023),
        )
        for number in range(1, 61)
    ]
    insert(connection, "doctors", list(doctors))
    patients = [
        (
            number,
            person(rng),
            rng.choice("FM"),
            day(rng, 1935, 2020),
            rng.choice(CITIES),
            rng.choices(_INSURANCES, (7, 2, 1))[0],
        )
        for number in range(1, 301)
    ]
    insert(connection, "patients", list(patients))
    visits = [
        (
            number,
            rng.randint(1, 285),
            rng.randint(1, 57),
            day(rng),
            rng.choices(_REASONS, (5, 2, 3, 1))[0],
            round(rng.lognormvariate(5, 0.8), 2),
        )
        for number in range(1, 1501)
    ]
    insert(connection, "visits", list(visits))
    found = rng.sample(range(1, 1501), 1100)
    diagnoses = [
        (number, visit, rng.choice(_DIAGNOSES), rng.choices(_SEVERITIES, (5, 3, 1))[0])
        for number, visit in enumerate(found, 1)
    ]
    insert(connection, "diagnoses", list(diagnoses))
    drugs = [
        (number, rng.choice(found), rng.choice(_DRUGS), rng.choice((5, 7, 10, 14, 30))) for number in range(1, 901)
    ]
    insert(connection, "prescriptions", list(drugs))


_EXAMPLES = (
    Pair("How many visits were there?", "SELECT COUNT(*) FROM visits"),
    Pair("List the names of patients from Zurich.", "SELECT name FROM patients WHERE city = 'Zurich'"),
    Pair("What is the highest cost of a visit?", "SELECT MAX(cost) FROM visits"),
    Pair("How many visits had each reason?", "SELECT reason, COUNT(*) FROM visits GROUP BY reason"),
    Pair("How many beds does Oncology have?", "SELECT beds FROM departments WHERE name = 'Oncology'"),
    Pair(
        "How many doctors work in Surgery?",
        "SELECT COUNT(*) FROM doctors d JOIN departments p ON d.department_id = p.id WHERE p.name = 'Surgery'",
    ),
    Pair(
        "Which patient had the most visits?",
        "SELECT p.name FROM patients p JOIN visits v ON v.patient_id = p.id GROUP BY p.id ORDER BY COUNT(*) DESC, p.id LIMIT 1",
    ),
    Pair("How many prescriptions were for insulin?", "SELECT COUNT(*) FROM prescriptions WHERE drug = 'insulin'"),
)

_QUESTIONS = (
    Pair("How many patients have private insurance?", "SELECT COUNT(*) FROM patients WHERE insurance = 'private'"),
    Pair("How many beds are there in total?", "SELECT SUM(beds) FROM departments"),
    Pair("How many severe diagnoses were made?", "SELECT COUNT(*) FROM diagnoses WHERE severity = 'severe'"),
    Pair("What is the average cost of an emergency visit?", "SELECT AVG(cost) FROM visits WHERE reason = 'emergency'"),
    Pair("Which department has the most beds?", "SELECT name FROM departments ORDER BY beds DESC LIMIT 1"),
    Pair("How many doctors have each title?", "SELECT title, COUNT(*) FROM doctors GROUP BY title"),
    Pair("How many patients were born after 2010?", "SELECT COUNT(*) FROM patients WHERE born > '2010-12-31'"),
    Pair(
        "How many doctors does each department have?",
        "SELECT p.name, COUNT(*) FROM doctors d JOIN departments p ON d.department_id = p.id GROUP BY p.name",
    ),
    Pair(
        "What is the most frequent diagnosis?",
        "SELECT name FROM diagnoses GROUP BY name ORDER BY COUNT(*) DESC, name LIMIT 1",
    ),
    Pair(
        "What are the names of the chief doctors in Cardiology or Neurology?",
        "SELECT d.name FROM doctors d JOIN departments p ON d.department_id = p.id WHERE d.title = 'chief' AND p.name IN ('Cardiology', 'Neurology')",
    ),
    Pair(
        "How many different patients were diagnosed with diabetes?",
        "SELECT COUNT(DISTINCT v.patient_id) FROM diagnoses d JOIN visits v ON d.visit_id = v.id WHERE d.name = 'diabetes'",
    ),
    Pair(
        "What is the total cost of visits in 2023?",
        "SELECT SUM(cost) FROM visits WHERE visited BETWEEN '2023-01-01' AND '2023-12-31'",
    ),
    Pair(
        "How many patients have never had a visit?",
        "SELECT COUNT(*) FROM patients WHERE id NOT IN (SELECT patient_id FROM visits)",
    ),
    Pair(
        "Which drug is prescribed for the most days in total?",
        "SELECT drug FROM prescriptions GROUP BY drug ORDER BY SUM(days) DESC, drug LIMIT 1",
    ),
    Pair(
        "How many visits did female patients from Hamburg make?",
        "SELECT COUNT(*) FROM visits v JOIN patients p ON v.patient_id = p.id WHERE p.gender = 'F' AND p.city = 'Hamburg'",
    ),
    Pair(
        "What is the average cost of visits for each insurance?",
        "SELECT p.insurance, AVG(v.cost) FROM visits v JOIN patients p ON v.patient_id = p.id GROUP BY p.insurance",
    ),
    Pair(
        "List the names of doctors hired before 2003.",
        "SELECT name FROM doctors WHERE hired < '2003-01-01'",
    ),
    Pair(
        "What percentage of diagnoses is mild?",
        "SELECT 100.0 * SUM(severity = 'mild') / COUNT(*) FROM diagnoses",
    ),
    Pair(
        "Which doctor had the most visits?",
        "SELECT d.name FROM doctors d JOIN visits v ON v.doctor_id = d.id GROUP BY d.id ORDER BY COUNT(*) DESC, d.id LIMIT 1",
    ),
    Pair(
        "How many visits without a diagnosis were there?",
        "SELECT COUNT(*) FROM visits WHERE id NOT IN (SELECT visit_id FROM diagnoses)",
    ),
)

HOSPITAL = Domain("hospital", _DDL, _fill, _EXAMPLES, _QUESTIONS)
