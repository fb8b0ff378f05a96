"""Agreement documents on a party's own machine: asked for, checked, shown in plain words, verified, registered.

What a signatory reads has to be what is signed. So everything here works on the text whose digest was computed here,
and nothing of it needs the service.
"""
