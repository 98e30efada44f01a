"""The market's vocabulary: categories, brands and attributes, each in English and Arabic; brands are invented."""

from __future__ import annotations

from dataclasses import dataclass

COUNTRIES = ("SA", "AE", "KW", "QA", "BH", "OM")
COUNTRY_SHARE = (0.50, 0.20, 0.10, 0.07, 0.05, 0.08)
CASH_SHARE = (0.55, 0.35, 0.30, 0.30, 0.40, 0.50)  # of orders paid in cash on delivery, by country
ARABIC_SHARE = (0.75, 0.35, 0.65, 0.45, 0.55, 0.65)  # of shoppers who use the Arabic app, by country
CITIES = ("Riyadh", "Jeddah", "Dammam", "Dubai", "Abu Dhabi", "Kuwait City", "Doha", "Manama", "Muscat")
CITY_COUNTRY = (0, 0, 0, 1, 1, 2, 3, 4, 5)  # ascending
DEVICES = ("ios", "android", "web")
DEVICE_SHARE = (0.50, 0.36, 0.14)
PLANS = ("basic", "plus", "premium")
# Segments of shoppers and the categories that each likes above others.
SEGMENT_LIKES = {
    "family": ("baby", "toys", "groceries", "cookware", "bedding", "kitchen"),
    "fashion": ("abayas", "dresses", "sneakers", "handbags", "thobes"),
    "tech": ("smartphones", "headphones", "laptops", "gaming", "televisions"),
    "beauty": ("perfume", "skincare", "makeup", "oud"),
    "premium": ("watches", "handbags", "perfume", "oud", "furniture", "decor"),
    "bargain": ("groceries", "headphones", "kitchen", "thobes", "makeup", "coffee"),
}
SEGMENTS = tuple(SEGMENT_LIKES)


@dataclass(frozen=True)
class Category:
    """A leaf category: typical price (SAR), sd of log price, extra units an order, returns, peak of its season."""

    name: str
    english: str
    arabic: str
    price: float
    spread: float
    extra_units: float
    returns: float  # factor on the merchant's return rate
    peak_day: int  # of the year


CATEGORIES = (
    Category("smartphones", "Smartphone", "هاتف", 1500, 0.60, 0.02, 0.7, 330),
    Category("headphones", "Headphones", "سماعات", 220, 0.80, 0.05, 0.8, 330),
    Category("laptops", "Laptop", "لابتوب", 2600, 0.50, 0.01, 0.7, 240),
    Category("gaming", "Console", "جهاز ألعاب", 900, 0.80, 0.10, 0.7, 350),
    Category("televisions", "TV", "تلفزيون", 1800, 0.60, 0.01, 0.6, 60),
    Category("kitchen", "Blender", "خلاط", 180, 0.70, 0.10, 0.8, 50),
    Category("cookware", "Cookware", "أواني طبخ", 140, 0.70, 0.30, 0.7, 50),
    Category("furniture", "Chair", "كرسي", 450, 0.80, 0.40, 1.2, 270),
    Category("bedding", "Bedding", "مفارش", 160, 0.60, 0.30, 1.0, 340),
    Category("decor", "Lamp", "مصباح", 110, 0.80, 0.30, 1.0, 60),
    Category("abayas", "Abaya", "عباية", 190, 0.60, 0.20, 1.7, 70),
    Category("thobes", "Thobe", "ثوب", 170, 0.50, 0.50, 1.3, 80),
    Category("dresses", "Dress", "فستان", 150, 0.70, 0.20, 2.0, 90),
    Category("sneakers", "Sneakers", "حذاء رياضي", 260, 0.60, 0.10, 1.8, 240),
    Category("handbags", "Handbag", "حقيبة", 320, 1.00, 0.05, 1.4, 90),
    Category("watches", "Watch", "ساعة", 480, 1.10, 0.05, 1.0, 80),
    Category("perfume", "Perfume", "عطر", 230, 0.90, 0.40, 0.5, 80),
    Category("oud", "Oud", "عود", 300, 1.00, 0.40, 0.4, 75),
    Category("skincare", "Serum", "سيروم", 95, 0.70, 0.60, 0.5, 30),
    Category("makeup", "Lipstick", "أحمر شفاه", 70, 0.60, 0.70, 0.5, 80),
    Category("baby", "Diapers", "حفاضات", 75, 0.50, 1.00, 0.3, 200),
    Category("toys", "Toy", "لعبة", 85, 0.80, 0.50, 0.8, 85),
    Category("groceries", "Dates", "تمور", 45, 0.70, 1.60, 0.2, 55),
    Category("coffee", "Coffee", "قهوة", 60, 0.60, 1.20, 0.2, 340),
)

BRANDS = (
    ("Najm", "نجم"),
    ("Rimal", "رمال"),
    ("Barq", "برق"),
    ("Sahm", "سهم"),
    ("Lulwa", "لولوة"),
    ("Nakhla", "نخلة"),
    ("Saqr", "صقر"),
    ("Mawj", "موج"),
    ("Dana", "دانة"),
    ("Wahat", "واحة"),
    ("Qamar", "قمر"),
    ("Shams", "شمس"),
    ("Yasmin", "ياسمين"),
    ("Zahra", "زهرة"),
    ("Fanar", "فنار"),
    ("Ghazal", "غزال"),
    ("Hilal", "هلال"),
    ("Jazira", "جزيرة"),
    ("Khaleej", "خليج"),
    ("Maha", "مها"),
    ("Noor", "نور"),
    ("Rawda", "روضة"),
    ("Sadaf", "صدف"),
    ("Tiraz", "طراز"),
    ("Ufuq", "أفق"),
    ("Ward", "ورد"),
    ("Afaq", "آفاق"),
    ("Bahr", "بحر"),
    ("Ithra", "إثراء"),
    ("Sana", "سنا"),
    ("Tala", "تالا"),
    ("Marjan", "مرجان"),
)

ATTRIBUTES = (
    ("Classic", "كلاسيك"),
    ("Pro", "برو"),
    ("Mini", "ميني"),
    ("Black", "أسود"),
    ("White", "أبيض"),
    ("Gold", "ذهبي"),
    ("Light", "خفيف"),
    ("Luxury", "فاخر"),
    ("Family", "عائلي"),
    ("Sport", "رياضي"),
    ("Natural", "طبيعي"),
    ("Smart", "ذكي"),
)
BRANDS_PER_CATEGORY = 8
