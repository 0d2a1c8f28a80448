from services.naming.service import build
from services.runtime.server import main

main(build, "naming")
