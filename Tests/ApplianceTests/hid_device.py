#!/usr/bin/python3
"""A USB gadget with lights that a program plays, in the guest: the kernel's own drivers drive it (uhid, hid-led, hid-cp2112).

    hid_device.py webmail    Riso Kagaku's notifier: LEDs riso_kagakuN:red|green|blue:led0
    hid_device.py bridge     Silicon Labs' CP2112: a GPIO chip of eight lines, labelled cp2112_gpio

Says `ready`, then each state that reaches the device, one line each: the colour as a number, or the levels of the lines as
bits. Ends, and is unplugged, with its standard output or on SIGTERM.
"""
import os
import struct
import sys

CREATE2, OUTPUT, GET_REPORT, GET_REPORT_REPLY, SET_REPORT, SET_REPORT_REPLY, START = 11, 6, 9, 10, 13, 14, 2
EVENT_BYTES = 4 + 4372
USB = 3
#: Vendor-defined, whatever the driver says: reports of 63 bytes in and out, and features by number.
WEBMAIL_REPORTS = bytes.fromhex("0600ff0901a1011500 26ff00 7508 9506 0901 9102 9506 0901 8102 c0".replace(" ", ""))


def feature(number, count):
    return bytes([0x85, number, 0x09, 0x01, 0x95, count - 1, 0xB1, 0x02])


#: Bytes of each feature report with its number: version, SMBus, line configuration, levels read, levels written.
FEATURES = {0x05: 3, 0x06: 14, 0x02: 5, 0x03: 2, 0x04: 3}
BRIDGE_REPORTS = (bytes.fromhex("0600ff0901a101150026ff007508") + b"".join(feature(*item) for item in FEATURES.items())
                  + bytes([0xC0]))
KINDS = {"webmail": (0x1294, 0x1320, WEBMAIL_REPORTS), "bridge": (0x10C4, 0xEA90, BRIDGE_REPORTS)}


def main():
    vendor, product, reports = KINDS[sys.argv[1]]
    device = os.open("/dev/uhid", os.O_RDWR)
    os.write(device, struct.pack("<I128s64s64sHHIIII", CREATE2, b"lights of a test", b"", b"", len(reports), USB, vendor,
                                 product, 0, 0) + reports)
    levels = 0
    outputs = 0
    said = None

    def say(text):
        nonlocal said
        if text != said:
            print(text, flush=True)
        said = text

    while True:
        event = os.read(device, EVENT_BYTES)
        kind = struct.unpack_from("<I", event)[0]
        if kind == START:
            say("ready")
        elif kind == OUTPUT:
            say(str(event[4 + 1]) if event[4] == 0 else str(event[4]))
        elif kind == GET_REPORT:
            identifier, number = struct.unpack_from("<IB", event, 4)
            data = bytearray(FEATURES.get(number, 1))
            data[0] = number
            if number == 0x02:
                data[1] = outputs
            elif number == 0x03:
                data[1] = levels
            os.write(device, struct.pack("<IIHH", GET_REPORT_REPLY, identifier, 0, len(data)) + data)
        elif kind == SET_REPORT:
            identifier, number, _, size = struct.unpack_from("<IBBH", event, 4)
            data = event[12:12 + size]
            if number == 0x02:
                outputs = data[1]
            elif number == 0x04:
                levels = levels & ~data[2] | data[1] & data[2]
                say(format(levels & outputs, "08b"))
            os.write(device, struct.pack("<IIH", SET_REPORT_REPLY, identifier, 0))


main()
